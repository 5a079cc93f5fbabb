//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"math/bits"
	"unsafe"

	"ressa/kernels"
)

// SelectMask makes an n:m mask; as many groups as a vector has float64 are compared
// at once.
func (s *stream) SelectMask(a kernels.SelectMaskArgs) {
	const op = "select mask"
	s.fail(a.Check())
	g := arguments[C.struct_rk_select](s)
	g.w = s.mat(op, "W", a.W, -1, -1, f32|bf16)
	g.norms = s.optional(op, "norms", a.Norms, -1, -1, f64)
	g.mask = s.mat(op, "mask", a.Mask, -1, -1, u64)
	g.bad = s.mat(op, "bad", a.Bad, -1, -1, i32)
	block, tasks := rowsPerTask(a.W.Rows, a.W.Cols)
	g.keep, g.group, g.block = C.int64_t(a.N), C.int64_t(a.M), C.int64_t(block)
	s.run(s.table.select_mask, tasks, C.RK_SELECT_SCRATCH, a.W.Len())
}

// PackKept writes the elements of src that the mask keeps to dst.
func (s *stream) PackKept(dst, src, mask kernels.Tensor) {
	s.fail(kernels.CheckPackKept(dst, src, mask))
	s.kept("pack kept", s.table.pack_kept, src, dst, mask)
}

// UnpackKept writes src to the elements of dst that the mask keeps.
func (s *stream) UnpackKept(dst, src, mask kernels.Tensor) {
	s.fail(kernels.CheckUnpackKept(dst, src, mask))
	s.kept("unpack kept", s.table.unpack_kept, dst, src, mask)
}

// kept counts what the mask keeps before each task, and runs fn.
func (s *stream) kept(op string, fn C.rk_task, matrix, packed, mask kernels.Tensor) {
	dense := s.mat(op, "matrix", matrix, -1, -1, f32)
	short := s.mat(op, "packed", packed, -1, -1, f32)
	words := s.mat(op, "mask", mask, -1, -1, u64)
	block, tasks := rowsPerTask(matrix.Rows, matrix.Cols)
	mem := s.shared(8 * max(1, tasks))
	if s.err != nil {
		return
	}
	before, n := unsafe.Slice((*C.int64_t)(mem), tasks), 0
	for r := range matrix.Rows {
		if r%block == 0 {
			before[r/block] = C.int64_t(n)
		}
		row := unsafe.Slice((*uint64)(unsafe.Add(words.data, 8*r*mask.Stride)), mask.Cols)
		for _, w := range row[:matrix.Cols/64] {
			n += bits.OnesCount64(w)
		}
		if rest := matrix.Cols % 64; rest > 0 {
			n += bits.OnesCount64(row[matrix.Cols/64] << (64 - rest))
		}
	}
	if s.fail(kernels.CheckKept(op, n, packed.Cols)); s.err != nil {
		return
	}
	g := arguments[C.struct_rk_kept](s)
	g.dense, g.mask, g.packed, g.before, g.block = dense, words, (*C.float)(short.data), (*C.int64_t)(mem), C.int64_t(block)
	s.run(fn, tasks, 0, matrix.Len())
}
