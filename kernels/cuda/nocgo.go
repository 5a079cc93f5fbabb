//go:build !cgo || !linux

package cuda

import "ressa/kernels/cuda/driver"

// Device is a GPU; there is none in this build.
type Device struct{}

// Open reports that this build cannot load the driver.
func Open(o Options) (*Device, error) {
	_, err := driver.Open(o.Library)
	return nil, err
}
