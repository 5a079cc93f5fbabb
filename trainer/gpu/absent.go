//go:build !linux || !cgo

package gpu

import "fmt"

// native returns the driver of this machine: without cgo nothing can load it.
func native() (driver, error) {
	return nil, fmt.Errorf("%w: this build of Ressa is without cgo or not for Linux, and cannot load NVML", ErrNone)
}
