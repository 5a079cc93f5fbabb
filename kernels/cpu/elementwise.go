//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"unsafe"

	"ressa/kernels"
)

// taskElements is how many elements a task of an elementwise operation takes.
const taskElements = 1 << 14

// rowsPerTask divides rows × cols into tasks of whole rows.
func rowsPerTask(rows, cols int) (block, tasks int) {
	block = max(1, taskElements/max(1, cols))
	return block, (rows + block - 1) / block
}

// elementwise runs fn over blocks of rows. With flat, dense operands of one shape
// are first seen as rows of taskElements, so that one long row is divided too.
func (s *stream) elementwise(fn C.rk_task, g *C.struct_rk_elementwise, flat bool) {
	if s.err != nil {
		return
	}
	rows, cols := int(g.dst.rows), int(g.dst.cols)
	if flat && dense(g.dst) && dense(g.a) && dense(g.b) {
		n := rows * cols
		rows, cols = n/taskElements, taskElements
		if rest := n % taskElements; rest > 0 {
			all := *g
			see(g, rows*cols, 1, rest)
			g.block = 1
			s.run(fn, 1, 0, rest)
			*g = all
		}
		see(g, 0, rows, cols)
	}
	if rows*cols == 0 {
		return
	}
	block, tasks := rowsPerTask(rows, cols)
	g.block = C.int64_t(block)
	s.run(fn, tasks, 0, rows*cols)
}

func dense(m C.struct_rk_mat) bool {
	return m.data == nil || m.rows <= 1 || m.stride == m.cols
}

// see sees the operands, which are dense, from element skip on as rows × cols.
func see(g *C.struct_rk_elementwise, skip, rows, cols int) {
	reshape(&g.dst, skip, rows, cols)
	reshape(&g.a, skip, rows, cols)
	reshape(&g.b, skip, rows, cols)
}

func reshape(m *C.struct_rk_mat, skip, rows, cols int) {
	if m.data == nil {
		return
	}
	m.data = unsafe.Add(m.data, skip*kernels.DType(m.dtype).Size())
	m.rows, m.cols, m.stride = C.int64_t(rows), C.int64_t(cols), C.int64_t(cols)
}

// Fill sets every element of dst.
func (s *stream) Fill(dst kernels.Tensor, v float32) {
	s.fail(kernels.CheckFill(dst))
	g := arguments[C.struct_rk_elementwise](s)
	g.dst = s.mat("fill", "dst", dst, -1, -1, f32)
	g.value = C.float(v)
	s.elementwise(s.table.fill, g, true)
}

// Convert copies src into dst, rounding to nearest even from F32 to BF16.
func (s *stream) Convert(dst, src kernels.Tensor) {
	s.fail(kernels.CheckConvert(dst, src))
	g := arguments[C.struct_rk_elementwise](s)
	g.dst = s.mat("convert", "dst", dst, -1, -1, anyType)
	g.a = s.mat("convert", "src", src, -1, -1, anyType)
	s.elementwise(s.table.convert, g, true)
}

// Add writes dst = a + b.
func (s *stream) Add(dst, a, b kernels.Tensor) {
	s.fail(kernels.CheckAdd(dst, a, b))
	s.AddRounded(dst, a, b, kernels.F32)
}

// AddRounded writes dst = round(a) + round(b).
func (s *stream) AddRounded(dst, a, b kernels.Tensor, round kernels.DType) {
	s.fail(kernels.CheckAddRounded(dst, a, b, round))
	g := arguments[C.struct_rk_elementwise](s)
	g.dst = s.mat("add", "dst", dst, -1, -1, f32)
	g.a = s.mat("add", "a", a, -1, -1, f32)
	g.b = s.mat("add", "b", b, -1, -1, f32)
	g.round = C.int32_t(round)
	s.elementwise(s.table.add, g, true)
}

// GatherRows writes dst[i] = src[index[i]].
func (s *stream) GatherRows(dst, src, index kernels.Tensor) {
	s.fail(kernels.CheckGatherRows(dst, src, index))
	g := arguments[C.struct_rk_elementwise](s)
	g.dst = s.mat("gather rows", "dst", dst, -1, -1, f32)
	g.a = s.mat("gather rows", "src", src, -1, -1, f32|bf16)
	g.b = s.mat("gather rows", "index", index, -1, -1, i32)
	s.checkIndices("gather rows", g.b, src.Rows)
	s.elementwise(s.table.gather_rows, g, false)
}

// ScatterRows writes dst[index[i]] = src[i].
func (s *stream) ScatterRows(dst, src, index kernels.Tensor) {
	s.fail(kernels.CheckScatterRows(dst, src, index))
	g := arguments[C.struct_rk_elementwise](s)
	g.dst = s.mat("scatter rows", "dst", dst, -1, -1, f32)
	g.a = s.mat("scatter rows", "src", src, -1, -1, f32)
	g.b = s.mat("scatter rows", "index", index, -1, -1, i32)
	s.checkIndices("scatter rows", g.b, dst.Rows)
	if n := src.Rows * src.Cols; n > 0 {
		block, tasks := rowsPerTask(src.Rows, src.Cols)
		g.block = C.int64_t(block)
		s.run(s.table.scatter_rows, tasks, 0, n)
	}
}

// checkIndices fails the stream when an index is not a row below limit.
func (s *stream) checkIndices(op string, index C.struct_rk_mat, limit int) {
	if s.err != nil || index.cols == 0 {
		return
	}
	for i, v := range unsafe.Slice((*int32)(index.data), int(index.cols)) {
		if uint32(v) >= uint32(limit) {
			s.fail(kernels.CheckRowIndex(op, i, v, limit))
			return
		}
	}
}
