//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"ressa/kernels"
)

// Tiles of products summed over rows. All of it depends on the shape alone and
// is part of what decides the bits of a result.
const (
	outerRows  = 192 // rows of a tile: columns of dy
	outerCols  = 512 // columns of a tile: columns of x
	outerBlock = 128 // rows packed at a time
	smallBlock = 256 // the same of a small gradient
	smallRows  = 96  // rows of a tile that is not folded
	smallCols  = 64  // and its columns
	outerStep  = 16  // of which ranges and blocks of rows are multiples
	splitRows  = 512 // rows of x and dy from which a split pays
	splitTasks = 32  // tiles from which no split is needed
)

// outerPlan is how Aᵀ·B of (rows, out) and (rows, in) is divided: into tiles of at
// most tileRows × tileCols, and ranges of rows.
type outerPlan struct {
	tileRows, tileCols, down, across, splits, splitRows, kc int
}

func planOuter(rows, out, in int) outerPlan {
	p := outerPlan{}.tiled(out, in, outerRows, outerCols)
	splits := min((rows+splitRows-1)/splitRows, max(1, splitTasks/(p.down*p.across)))
	p.splitRows = roundUp((rows+splits-1)/splits, outerStep)
	p.splits = (rows + p.splitRows - 1) / p.splitRows
	block := outerBlock
	if out*in < driverOut {
		block = smallBlock
	}
	blocks := (p.splitRows + block - 1) / block
	p.kc = roundUp((p.splitRows+blocks-1)/blocks, outerStep)
	return p
}

// tiled returns the plan with tiles of another size. Unless they are folded, that
// changes no bits.
func (p outerPlan) tiled(out, in, rows, cols int) outerPlan {
	p.tileRows, p.tileCols = rows, cols
	p.down, p.across = (out+rows-1)/rows, (in+cols-1)/cols
	return p
}

func (p outerPlan) tasks() int { return p.down * p.across * p.splits }

// outer fills in the arguments that follow from the plan and returns a task's
// scratch bytes.
func (p outerPlan) fill(a *C.struct_rk_outer, rows, out, in, r int) int {
	gm, gn := min(p.tileRows, roundUp(out, 12)), min(p.tileCols, roundUp(in, maskWord))
	a.rows, a.out, a.in = C.int64_t(rows), C.int64_t(out), C.int64_t(in)
	a.gm, a.gn, a.kc = C.int64_t(gm), C.int64_t(gn), C.int64_t(p.kc)
	a.split_rows, a.splits = C.int64_t(p.splitRows), C.int64_t(p.splits)
	return 4 * (gm*gn + (gm+12)*p.kc + gn*max(p.kc, roundUp(r, maskWord)) + 3*tilePadding)
}

// driverOut is the number of elements of a weight gradient from which it is divided
// into enough tasks without splitting the rows that it sums over.
const driverOut = 1 << 16

// weightGradient writes c (out, in) = mask ⊙ (xᵀ·y) for x (rows, out) and y (rows, in),
// or adds it; with a mask it only writes.
func (s *stream) weightGradient(op string, c, x, y, mask kernels.Tensor, accumulate bool) {
	rows, out, in := x.Rows, x.Cols, y.Cols
	if rows == 0 && !accumulate {
		s.Fill(c, 0)
	}
	if out*in < driverOut {
		s.outerProduct(op, c, x, y, mask, accumulate)
		return
	}
	a := arguments[C.struct_rk_gemm](s)
	a.c = s.mat(op, "C", c, out, in, f32)
	a.a = s.mat(op, "A", x, rows, out, f32|bf16)
	a.b.w = s.mat(op, "B", y, rows, in, f32|bf16)
	a.mask = s.optional(op, "mask", mask, out, kernels.MaskWords(in), u64)
	a.a_by_k = 1
	s.multiply(a, out, in, rows, accumulate, nil)
}

// outerProduct writes or accumulates c (out, in) = mask ⊙ (aᵀ·b) for a (rows, out)
// and b (rows, in).
func (s *stream) outerProduct(op string, c, x, y, mask kernels.Tensor, accumulate bool) {
	rows, out, in := x.Rows, x.Cols, y.Cols
	a := arguments[C.struct_rk_outer](s)
	a.c = s.mat(op, "C", c, out, in, f32)
	a.a = s.mat(op, "A", x, rows, out, f32|bf16)
	a.b = s.mat(op, "B", y, rows, in, f32|bf16)
	a.mask = s.optional(op, "mask", mask, out, kernels.MaskWords(in), u64)
	if s.err != nil || rows == 0 || out == 0 || in == 0 {
		return
	}
	a.accumulate = boolean(accumulate)
	p := planOuter(rows, out, in).tiled(out, in, smallRows, smallCols)
	scratch := p.fill(a, rows, out, in, 0)
	if p.splits > 1 {
		a.partial = (*C.float)(s.shared(4 * p.splits * out * in))
	}
	s.run(s.table.outer, p.tasks(), scratch, rows*out*in/mulAddsPerUnit)
	if p.splits > 1 {
		s.reduce(a.c, a.partial, p.splits, accumulate)
	}
}

// reduce writes or adds to dst the sum of count partials shaped like it, which
// follow each other in memory, in ascending order.
func (s *stream) reduce(dst C.struct_rk_mat, partial *C.float, count int, accumulate bool) {
	a := arguments[C.struct_rk_reduce](s)
	a.dst, a.partial, a.count, a.accumulate = dst, partial, C.int64_t(count), boolean(accumulate)
	block, tasks := rowsPerTask(int(dst.rows), int(dst.cols)*count)
	a.block = C.int64_t(block)
	s.run(s.table.reduce, tasks, 0, int(dst.rows*dst.cols)*count)
}
