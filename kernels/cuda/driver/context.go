//go:build cgo && linux

package driver

// #include "libcuda.h"
import "C"

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Context is the primary context of a GPU, which all libraries in the process
// share. It is safe for concurrent use.
type Context struct {
	l       *Library
	device  C.int
	current unsafe.Pointer
}

// Retain opens the primary context of GPU i.
func (l *Library) Retain(i int) (*Context, error) {
	c := &Context{l: l}
	if err := l.check("cuDeviceGet", C.call_cuDeviceGet(l.c, &c.device, C.int(i))); err != nil {
		return nil, err
	}
	return c, l.check("cuDevicePrimaryCtxRetain", C.call_cuDevicePrimaryCtxRetain(l.c, &c.current, c.device))
}

// Release gives the context back; the last user's release frees all that is in it.
func (c *Context) Release() error {
	return c.l.check("cuDevicePrimaryCtxRelease_v2", C.call_cuDevicePrimaryCtxRelease_v2(c.l.c, c.device))
}

// MemoryInfo returns the bytes that are free and those that the GPU has.
func (c *Context) MemoryInfo() (free, total int64, err error) {
	var f, t C.size_t
	err = c.l.check("cuMemGetInfo_v2", C.call_cuMemGetInfo_v2(c.l.c, c.current, &f, &t))
	return int64(f), int64(t), err
}

// Memory is an address in the GPU's memory.
type Memory uint64

// Alloc returns memory with unknown contents, aligned to 256.
func (c *Context) Alloc(bytes int) (Memory, error) {
	var p C.uint64_t
	err := c.l.check("cuMemAlloc_v2", C.call_cuMemAlloc_v2(c.l.c, c.current, &p, C.size_t(bytes)))
	return Memory(p), err
}

// Free returns memory. It waits for everything that the GPU was told to do.
func (c *Context) Free(m Memory) error {
	return c.l.check("cuMemFree_v2", C.call_cuMemFree_v2(c.l.c, c.current, C.uint64_t(m)))
}

// Host is pinned memory of the host, which the GPU copies to and from by itself.
type Host struct{ bytes []byte }

// Bytes returns the memory. It is not Go's: it is gone after FreeHost.
func (h *Host) Bytes() []byte { return h.bytes }

// AllocHost returns pinned memory with unknown contents.
func (c *Context) AllocHost(bytes int) (*Host, error) {
	var p unsafe.Pointer
	if err := c.l.check("cuMemAllocHost_v2", C.call_cuMemAllocHost_v2(c.l.c, c.current, &p, C.size_t(bytes))); err != nil {
		return nil, err
	}
	return &Host{unsafe.Slice((*byte)(p), bytes)}, nil
}

// FreeHost returns pinned memory, which no copy may be using.
func (c *Context) FreeHost(h *Host) error {
	p := unsafe.Pointer(unsafe.SliceData(h.bytes))
	h.bytes = nil
	return c.l.check("cuMemFreeHost", C.call_cuMemFreeHost(c.l.c, c.current, p))
}

// Module is a loaded object with kernels.
type Module struct {
	c      *Context
	handle unsafe.Pointer
}

// logBytes is the room for what the JIT has to say.
const logBytes = 16 << 10

// LoadModule loads a cubin, or compiles PTX for this GPU. The compiler's words are
// in the error.
func (c *Context) LoadModule(image []byte) (*Module, error) {
	if len(image) == 0 {
		return nil, fmt.Errorf("cuda: load module: no object")
	}
	// PTX is text and has to end with a zero.
	ended := append(append(make([]byte, 0, len(image)+1), image...), 0)
	log := make([]byte, logBytes)
	m := &Module{c: c}
	err := c.l.check("cuModuleLoadDataEx", C.load_module(c.l.c, c.current, &m.handle,
		unsafe.Pointer(&ended[0]), (*C.char)(unsafe.Pointer(&log[0])), logBytes))
	if err == nil {
		return m, nil
	}
	if e, ok := err.(*Error); ok {
		e.Detail = unix.ByteSliceToString(log)
	}
	return nil, err
}

// Unload frees the module; its functions are gone then.
func (m *Module) Unload() error {
	return m.c.l.check("cuModuleUnload", C.call_cuModuleUnload(m.c.l.c, m.c.current, m.handle))
}
