//go:build !cgo

package cpu

import (
	"errors"
	"unsafe"

	"ressa/kernels"
)

// Open reports that this build has no C kernels.
func Open(Options) (kernels.Device, error) {
	return nil, errors.New("cpu: this build has no C kernels (it was built with CGO_ENABLED=0)")
}

// Address returns nil.
func Address(kernels.Device, kernels.Tensor) unsafe.Pointer { return nil }
