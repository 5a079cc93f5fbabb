//go:build cgo

package dense

// #cgo CFLAGS: -std=c11 -O3 -Wall
// #include "passes.h"
import "C"

import (
	"sync"
	"unsafe"

	"ressa/kernels"
	"ressa/kernels/cpu"
)

// share calls f with ranges of rows, on all threads where there is enough work.
func (s *stream) share(rows, cols int, f func(lo, hi int)) {
	n := min(s.device.threads, rows)
	if n < 2 || rows*cols < 1<<16 {
		f(0, rows)
		return
	}
	var group sync.WaitGroup
	for k := 1; k < n; k++ {
		group.Go(func() { f(rows*k/n, rows*(k+1)/n) })
	}
	f(0, rows/n)
	group.Wait()
}

// effective turns B·A in t into W_eff, or writes W_eff without an adapter.
func (s *stream) effective(t kernels.Tensor, w kernels.LinearWeight) {
	out, from, mask := (*C.float)(s.at(t)), s.at(w.W), s.mask(w.Mask)
	add := C.int(0)
	if !w.A.IsZero() {
		add = 1
	}
	step, from_step, mask_step, cols := C.int64_t(t.Stride), C.int64_t(w.W.Stride), C.int64_t(w.Mask.Stride), C.int64_t(t.Cols)
	s.share(t.Rows, t.Cols, func(lo, hi int) {
		a, b := C.int64_t(lo), C.int64_t(hi)
		switch {
		case w.W.DType == kernels.F32 && w.Round == kernels.F32:
			C.dense_wide(out, step, from, from_step, mask, mask_step, C.float(w.Scale), add, cols, a, b)
		case w.W.DType == kernels.F32:
			C.dense_wide_rounded(out, step, from, from_step, mask, mask_step, C.float(w.Scale), add, cols, a, b)
		case w.Round == kernels.F32:
			C.dense_narrow(out, step, from, from_step, mask, mask_step, C.float(w.Scale), add, cols, a, b)
		default:
			C.dense_narrow_rounded(out, step, from, from_step, mask, mask_step, C.float(w.Scale), add, cols, a, b)
		}
	})
}

// gradient scales and masks dW in t.
func (s *stream) gradient(t, bits kernels.Tensor, scale float32) {
	out, mask := (*C.float)(s.at(t)), s.mask(bits)
	s.share(t.Rows, t.Cols, func(lo, hi int) {
		C.dense_gradient(out, C.int64_t(t.Stride), nil, 0, mask, C.int64_t(bits.Stride), C.float(scale), 1, C.int64_t(t.Cols), C.int64_t(lo), C.int64_t(hi))
	})
}

// at returns the address of a tensor that was checked.
func (s *stream) at(t kernels.Tensor) unsafe.Pointer { return cpu.Address(s.device.Device, t) }

func (s *stream) mask(t kernels.Tensor) *C.uint64_t {
	if t.IsZero() {
		return nil
	}
	return (*C.uint64_t)(s.at(t))
}
