//go:build !cgo

package dense

import (
	"errors"

	"ressa/kernels"
)

// Options configures a device.
type Options struct{ Threads int }

// Open reports that this build cannot load OpenBLAS.
func Open(Options) (kernels.Device, error) {
	return nil, errors.New("dense: this build cannot load OpenBLAS (it was built with CGO_ENABLED=0)")
}

// Wrap reports the same.
func Wrap(kernels.Device, int) (kernels.Device, error) { return Open(Options{}) }
