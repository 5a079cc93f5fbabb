//go:build cgo

package cpu

import (
	"unsafe"

	"ressa/kernels"
)

// Address returns where t begins in memory, for a library that computes on the
// same operands in a benchmark; nil unless t lies in a buffer of d that is in use.
func Address(d kernels.Device, t kernels.Tensor) unsafe.Pointer {
	b, ok := t.Buffer.(*buffer)
	if !ok || kernels.Device(b.device) != d || b.data == nil {
		return nil
	}
	return unsafe.Add(b.data, t.Offset*t.DType.Size())
}
