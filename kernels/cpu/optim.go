//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"math"
	"unsafe"

	"ressa/kernels"
)

// squaresBlock is how many elements of a segment are squared and summed before
// the sum is added to those of other blocks.
const squaresBlock = 1 << 14

// AdamW updates parameters in place, every product and sum rounded by itself.
func (s *stream) AdamW(a kernels.AdamWArgs) {
	const op = "adamw"
	s.fail(a.Check())
	g := arguments[C.struct_rk_adamw](s)
	g.param = s.mat(op, "param", a.Param, -1, -1, f32)
	g.grad = s.mat(op, "grad", a.Grad, -1, -1, f32)
	g.m = s.mat(op, "m", a.M, -1, -1, f32)
	g.v = s.mat(op, "v", a.V, -1, -1, f32)
	g.mask = s.optional(op, "mask", a.Mask, -1, -1, u64)
	if s.err != nil {
		return
	}
	g.grad_scale, g.decay, g.eps = C.float(a.GradScale), C.float(a.LR*a.WeightDecay), C.float(a.Eps)
	g.beta1, g.rest1 = C.float(a.Beta1), C.float(1-a.Beta1)
	g.beta2, g.rest2 = C.float(a.Beta2), C.float(1-a.Beta2)
	g.step, g.root = C.float(float64(a.LR)/a.Bias1), C.float(math.Sqrt(a.Bias2))
	flat := dense(g.param) && dense(g.grad) && dense(g.m) && dense(g.v) && g.mask.data == nil
	tasks := 0
	g.block, g.flat, tasks = divide(g.param, flat)
	s.run(s.table.adamw, tasks, 0, 4*a.Param.Len())
}

// SegmentSumSquares writes the sum of squares of each segment of x, in blocks
// of 16,384 elements from the segment's start.
func (s *stream) SegmentSumSquares(dst, x kernels.Tensor, offsets []int) {
	const op = "segment sum of squares"
	s.fail(kernels.CheckSegmentSumSquares(dst, x, offsets))
	d := s.mat(op, "dst", dst, -1, -1, f64)
	m := s.mat(op, "x", x, -1, -1, f32)
	if s.err != nil {
		return
	}
	tasks := 0
	for k := range dst.Cols {
		tasks += blocksOf(offsets[k], offsets[k+1])
	}
	size := int(unsafe.Sizeof(C.struct_rk_squares_piece{}))
	mem := s.shared(max(1, tasks) * (size + 8))
	if s.err != nil {
		return
	}
	pieces := unsafe.Slice((*C.struct_rk_squares_piece)(mem), tasks)
	sums := unsafe.Slice((*float64)(unsafe.Add(mem, tasks*size)), tasks)
	at := 0
	for k := range dst.Cols {
		for i := offsets[k]; i < offsets[k+1]; i += squaresBlock {
			pieces[at] = C.struct_rk_squares_piece{
				x:  (*C.float)(unsafe.Add(m.data, 4*i)),
				n:  C.int64_t(min(squaresBlock, offsets[k+1]-i)),
				to: (*C.double)(unsafe.Pointer(&sums[at])),
			}
			at++
		}
	}
	g := arguments[C.struct_rk_squares](s)
	g.pieces = (*C.struct_rk_squares_piece)(mem)
	s.run(s.table.segment_squares, tasks, 0, x.Cols)
	if s.err != nil {
		return
	}
	for k := range dst.Cols {
		n, sum := blocksOf(offsets[k], offsets[k+1]), 0.0
		for _, v := range sums[:n] {
			sum += v
		}
		sums = sums[n:]
		*(*float64)(unsafe.Add(d.data, 8*k)) = sum
	}
}

func blocksOf(from, to int) int { return (to - from + squaresBlock - 1) / squaresBlock }

// ColumnSumSquares writes dst[c] = Σ x[row][c]², rows ascending.
func (s *stream) ColumnSumSquares(dst, x kernels.Tensor) {
	const op = "column sum of squares"
	s.fail(kernels.CheckColumnSumSquares(dst, x))
	g := arguments[C.struct_rk_squares](s)
	g.dst = s.mat(op, "dst", dst, -1, -1, f64)
	g.x = s.mat(op, "x", x, -1, -1, f32)
	s.run(s.table.column_squares, (x.Cols+C.RK_SQUARES_COLUMNS-1)/C.RK_SQUARES_COLUMNS, 0, x.Len())
}
