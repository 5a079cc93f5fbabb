//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"unsafe"

	"ressa/kernels"
)

const (
	// groupBlock is how many rows of a group are summed before the sum is added
	// to those of other blocks.
	groupBlock = 256
	// stripColumns is how many columns a task takes that goes down all rows.
	stripColumns = 64
)

// AddRows writes dst[i] = x[i] + p[i mod p.Rows].
func (s *stream) AddRows(dst, x, p kernels.Tensor) {
	const op = "add rows"
	s.fail(kernels.CheckAddRows(dst, x, p))
	g := arguments[C.struct_rk_rowops](s)
	g.dst = s.mat(op, "dst", dst, -1, -1, f32)
	g.x = s.mat(op, "x", x, -1, -1, f32)
	g.p = s.mat(op, "p", p, -1, -1, f32|bf16)
	s.rows(s.table.add_rows, g, x.Rows, x.Cols)
}

// rows runs fn with tasks of whole rows.
func (s *stream) rows(fn C.rk_task, g *C.struct_rk_rowops, rows, cols int) {
	block, tasks := rowsPerTask(rows, cols)
	g.block = C.int64_t(block)
	s.run(fn, tasks, 0, rows*cols)
}

// SumRowGroups writes dst[j] = Σ x[i] over i mod dst.Rows = j: blocks of 256
// rows of a group in ascending order, then the blocks' sums.
func (s *stream) SumRowGroups(dst, x kernels.Tensor) {
	const op = "sum row groups"
	s.fail(kernels.CheckSumRowGroups(dst, x))
	g := arguments[C.struct_rk_rowops](s)
	g.dst = s.mat(op, "dst", dst, -1, -1, f32)
	g.x = s.mat(op, "x", x, -1, -1, f32)
	if s.err != nil || dst.Len() == 0 {
		return
	}
	longest := (x.Rows + dst.Rows - 1) / dst.Rows
	parts := max(1, (longest+groupBlock-1)/groupBlock)
	g.block, g.parts = groupBlock, C.int64_t(parts)
	if parts > 1 {
		g.partial = (*C.float)(s.shared(4 * parts * dst.Len()))
	}
	to, partial := g.dst, g.partial
	s.run(s.table.sum_row_groups, parts*dst.Rows, 0, x.Len())
	if parts > 1 {
		s.sumPartials(to, partial, 0, dst.Len(), parts)
	}
}

// sumPartials writes dst = Σ of parts matrices of its shape, which lie pitch
// elements apart from element skip of partial on. An absent dst is passed over.
func (s *stream) sumPartials(dst C.struct_rk_mat, partial *C.float, skip, pitch, parts int) {
	if s.err != nil || dst.data == nil {
		return
	}
	g := arguments[C.struct_rk_rowops](s)
	g.dst, g.block, g.pitch, g.parts = dst, stripColumns, C.int64_t(pitch), C.int64_t(parts)
	if parts > 0 {
		g.partial = (*C.float)(unsafe.Add(unsafe.Pointer(partial), 4*skip))
	}
	cols := int(dst.cols)
	s.run(s.table.sum_partials, (cols+stripColumns-1)/stripColumns, 0, int(dst.rows)*cols*parts)
}

// ScatterAddRows writes dst[v] = Σ src[i] over index[i] = v, in ascending i.
func (s *stream) ScatterAddRows(dst, src, index kernels.Tensor) {
	const op = "scatter-add rows"
	s.fail(kernels.CheckScatterAddRows(dst, src, index))
	g := arguments[C.struct_rk_rowops](s)
	g.dst = s.mat(op, "dst", dst, -1, -1, f32)
	g.x = s.mat(op, "src", src, -1, -1, f32)
	g.index = s.mat(op, "index", index, -1, -1, i32)
	s.checkIndices(op, g.index, dst.Rows)
	// Narrow tables are cut at cache lines, wide ones in longer runs.
	block := stripColumns
	if dst.Cols < 8*stripColumns {
		block = 16
	}
	g.block = C.int64_t(block)
	s.run(s.table.scatter_add_rows, (dst.Cols+block-1)/block, 0, (dst.Rows+src.Rows)*dst.Cols)
}

// Rotate applies rotary position embedding in place.
func (s *stream) Rotate(x kernels.Tensor, headDim int, cos, sin, positions kernels.Tensor, inverse bool) {
	const op = "rotate"
	s.fail(kernels.CheckRotate(x, headDim, cos, sin, positions))
	g := arguments[C.struct_rk_rowops](s)
	g.dst = s.mat(op, "x", x, -1, -1, f32)
	g.p = s.mat(op, "cos", cos, -1, -1, f32)
	g.sin = s.mat(op, "sin", sin, -1, -1, f32)
	g.index = s.mat(op, "positions", positions, -1, -1, i32)
	s.checkIndices(op, g.index, cos.Rows)
	g.head_dim = C.int64_t(headDim)
	if inverse {
		g.inverse = 1
	}
	s.rows(s.table.rotate, g, x.Rows, x.Cols)
}

// ArgmaxRows writes the column of each row's greatest element, the lowest of equal ones.
func (s *stream) ArgmaxRows(dst, x kernels.Tensor) {
	const op = "argmax rows"
	s.fail(kernels.CheckArgmaxRows(dst, x))
	g := arguments[C.struct_rk_rowops](s)
	g.dst = s.mat(op, "dst", dst, -1, -1, i32)
	g.x = s.mat(op, "x", x, -1, -1, f32)
	s.rows(s.table.argmax_rows, g, x.Rows, x.Cols)
}
