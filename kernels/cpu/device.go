//go:build cgo

package cpu

/*
#cgo CFLAGS: -std=c11 -O3 -Wall -Wno-psabi -Wno-unknown-pragmas
#cgo LDFLAGS: -lm
#include "kernels.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"

	"ressa/kernels"
)

// device is a variant's functions and the workers that help streams.
type device struct {
	kind    string
	table   *C.struct_rk_table
	threads int
	pool    *pool
	// parallel is the work from which an operation is shared out.
	parallel int
}

// Open returns a device that computes with the C kernels. It fails when the
// processor cannot run the variant asked for.
func Open(o Options) (kernels.Device, error) {
	variant, err := pickVariant(o.Variant)
	if err != nil {
		return nil, err
	}
	if o.Threads < 0 {
		return nil, fmt.Errorf("cpu: %d threads; want 0 for all processors, or more", o.Threads)
	}
	d := &device{threads: o.Threads, parallel: parallelWork}
	if d.threads == 0 {
		d.threads = runtime.GOMAXPROCS(0)
	}
	switch variant {
	case "avx512":
		d.table = C.rk_table_avx512()
	case "avx2":
		d.table = C.rk_table_avx2()
	default:
		d.table = C.rk_table_generic()
	}
	if d.table == nil {
		return nil, fmt.Errorf("cpu: variant %q was not compiled for %s", variant, runtime.GOARCH)
	}
	if variant != "avx512" && variant != "avx2" {
		// Go and C compilers fuse products on some architectures.
		variant += "-" + runtime.GOARCH
	}
	d.kind = fmt.Sprintf("cpu-%s/%d+%s", variant, version, C.GoString(C.rk_compiler()))
	d.pool = newPool(d.threads - 1)
	return d, nil
}

// Kind names the variant, the version of the kernel set and the compiler.
func (d *device) Kind() string { return d.kind }

// Alloc returns C memory, so that kernels may keep its address in their arguments.
func (d *device) Alloc(bytes int) (kernels.Buffer, error) {
	if bytes < 0 {
		return nil, fmt.Errorf("cpu: cannot allocate %d bytes", bytes)
	}
	p := C.rk_alloc(C.int64_t(bytes))
	if p == nil {
		return nil, fmt.Errorf("cpu: out of memory: cannot allocate %d bytes", bytes)
	}
	return &buffer{data: p, bytes: bytes, device: d}, nil
}

// Free returns a buffer of this device; freeing it again does nothing.
func (d *device) Free(b kernels.Buffer) {
	if own, ok := b.(*buffer); ok && own.device == d && own.data != nil {
		C.rk_free(own.data)
		own.data = nil
	}
}

func (d *device) NewStream() (kernels.Stream, error) {
	s := &stream{device: d, table: d.table, args: C.rk_alloc(argsBytes), job: job{done: make(chan struct{}, d.threads)}}
	if s.args == nil {
		return nil, fmt.Errorf("cpu: out of memory: cannot allocate a stream")
	}
	return s, nil
}

// Close ends the workers.
func (d *device) Close() error {
	d.pool.close()
	return nil
}

// buffer is aligned C memory; data is nil once it was freed.
type buffer struct {
	data   unsafe.Pointer
	bytes  int
	device *device
}

func (b *buffer) Bytes() int { return b.bytes }
