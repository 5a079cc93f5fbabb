//go:build cgo && linux

package cuda

import "ressa/kernels"

// The argument structs of rows.cu.
type (
	indexArgs struct {
		head
		dst, src, index view
	}
	sumRowsArgs struct {
		head
		dst, x         view
		groups, length int64
	}
	argmaxArgs struct {
		head
		dst, x view
	}
)

// indexed launches a kernel that uses indices below limit, in that many tiles.
func (s *Stream) indexed(op, kernel string, dst, src, index kernels.Tensor, tiles, limit int) {
	a := &indexArgs{dst: s.view(op, "dst", dst), src: s.view(op, "src", src), index: s.view(op, "index", index)}
	launch(s, kernel, tiles, a)
	s.checked(op, limit, kernels.CheckRowIndex)
}

// GatherRows writes dst[i] = src[index[i]].
func (s *Stream) GatherRows(dst, src, index kernels.Tensor) {
	s.fail(kernels.CheckGatherRows(dst, src, index))
	s.indexed("gather rows", "gather_rows", dst, src, index, tiles(dst.Rows, dst.Cols), src.Rows)
}

// ScatterRows writes dst[index[i]] = src[i].
func (s *Stream) ScatterRows(dst, src, index kernels.Tensor) {
	s.fail(kernels.CheckScatterRows(dst, src, index))
	s.indexed("scatter rows", "scatter_rows", dst, src, index, tiles(src.Rows, src.Cols), dst.Rows)
}

// ScatterAddRows writes dst[v] = Σ src[i] over all i with index[i] = v.
func (s *Stream) ScatterAddRows(dst, src, index kernels.Tensor) {
	s.fail(kernels.CheckScatterAddRows(dst, src, index))
	zero := &fillArgs{dst: s.view("scatter-add rows", "dst", dst)}
	flatten(&zero.dst)
	each(s, "fill", zero.dst, zero)
	s.indexed("scatter-add rows", "scatter_add_rows", dst, src, index, tiles(src.Rows, src.Cols), dst.Rows)
}

// chunkRows is how many rows one thread of SumRowGroups adds before others join.
const chunkRows = 64

// SumRowGroups writes dst[j] = Σ x[i] over all i with i mod dst.Rows = j: sums of
// chunkRows rows, then the sum of those.
func (s *Stream) SumRowGroups(dst, x kernels.Tensor) {
	const op = "sum row groups"
	s.fail(kernels.CheckSumRowGroups(dst, x))
	a := &sumRowsArgs{dst: s.view(op, "dst", dst), x: s.view(op, "x", x)}
	if s.err != nil {
		return
	}
	a.groups = int64(dst.Rows)
	a.length = ceil(a.x.rows, a.groups)
	if chunks := ceil(a.length, chunkRows); chunks > 1 {
		rows := chunks * a.groups
		part := view{data: s.temporary(int(4 * rows * a.x.cols)), rows: rows, cols: a.x.cols, stride: a.x.cols, dtype: int32(kernels.F32)}
		each(s, "sum_rows", part, &sumRowsArgs{dst: part, x: a.x, groups: a.groups, length: chunkRows})
		a.x, a.length = part, chunks
	}
	each(s, "sum_rows", a.dst, a)
}

// ArgmaxRows writes the column of each row's greatest element.
func (s *Stream) ArgmaxRows(dst, x kernels.Tensor) {
	s.fail(kernels.CheckArgmaxRows(dst, x))
	launch(s, "argmax_rows", x.Rows, &argmaxArgs{dst: s.view("argmax rows", "dst", dst), x: s.view("argmax rows", "x", x)})
}
