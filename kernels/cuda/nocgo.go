//go:build !cgo || !linux

package cuda

import (
	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// Open reports that this build cannot load the driver.
func Open(o Options) (kernels.Device, error) {
	_, err := driver.Open(o.Library)
	return nil, err
}

// Describe knows no device.
func Describe(kernels.Device) (GPU, bool) { return GPU{}, false }
