//go:build cgo && linux

package driver

// #include <stdlib.h>
// #include "libcuda.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Function is a kernel of a module.
type Function struct {
	c      *Context
	handle unsafe.Pointer
}

// Function returns the kernel of that name.
func (m *Module) Function(name string) (Function, error) {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	f := Function{c: m.c}
	err := m.c.l.check("cuModuleGetFunction", C.call_cuModuleGetFunction(m.c.l.c, m.c.current, &f.handle, m.handle, text))
	if err != nil {
		return Function{}, fmt.Errorf("kernel %s: %w", name, err)
	}
	return f, nil
}

// Attributes are what a kernel needs of a multiprocessor.
type Attributes struct {
	MaxThreads int // a block
	Shared     int // static shared memory in bytes
}

// Attributes returns what the compiler made of the kernel.
func (f Function) Attributes() (Attributes, error) {
	var a Attributes
	for _, x := range []struct {
		number C.int // CUfunction_attribute
		value  *int
	}{{0, &a.MaxThreads}, {1, &a.Shared}} {
		var v C.int
		if err := f.c.l.check("cuFuncGetAttribute", C.call_cuFuncGetAttribute(f.c.l.c, f.c.current, &v, x.number, f.handle)); err != nil {
			return Attributes{}, err
		}
		*x.value = int(v)
	}
	return a, nil
}

// SetDynamicShared allows launches with so many bytes of dynamic shared memory;
// without it they are limited to 48 KiB.
func (f Function) SetDynamicShared(bytes int) error {
	const maxDynamicShared = 8 // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
	return f.c.l.check("cuFuncSetAttribute", C.call_cuFuncSetAttribute(f.c.l.c, f.c.current, f.handle, maxDynamicShared, C.int(bytes)))
}

// Dim is the extent of a grid or a block in x, y and z.
type Dim [3]uint32

// Launch enqueues a kernel on its one argument, a struct of size bytes without
// pointers to Go's memory. It is copied before Launch returns.
func (s Stream) Launch(f Function, grid, block Dim, shared int, args unsafe.Pointer, size uintptr) error {
	return s.c.l.check("cuLaunchKernel", C.launch(s.c.l.c, s.c.current, f.handle, (*C.uint)(&grid[0]), (*C.uint)(&block[0]),
		C.uint(shared), s.handle, (*C.uchar)(args), C.size_t(size)))
}
