//go:build cgo && linux

package cuda

import (
	"encoding/binary"
	"math"

	"ressa/kernels"
)

// The argument structs of optimiser.cu.
type (
	adamWArgs struct {
		head
		param, grad, m, v, mask    view
		gradScale, decay, eps      float32
		beta1, rest1, beta2, rest2 float32
		step, root                 float32
		_                          int32
	}
	segmentSquaresArgs struct {
		head
		x, offsets, first, partial uint64
		segments                   int64
	}
	segmentSumsArgs struct {
		head
		dst, first, partial uint64
		segments            int64
	}
	columnSquaresArgs struct {
		head
		dst, x view
	}
)

// squaresBlock and columns are SQUARES_BLOCK and COLUMNS of optimiser.cu.
const (
	squaresBlock = 16384
	columns      = 32
)

// AdamW updates parameters in place.
func (s *Stream) AdamW(w kernels.AdamWArgs) {
	const op = "adamw"
	s.fail(w.Check())
	a := &adamWArgs{
		param: s.view(op, "param", w.Param), grad: s.view(op, "grad", w.Grad), m: s.view(op, "m", w.M), v: s.view(op, "v", w.V),
		mask: s.optional(op, "mask", w.Mask), gradScale: w.GradScale, decay: w.LR * w.WeightDecay, eps: w.Eps,
		beta1: w.Beta1, rest1: 1 - w.Beta1, beta2: w.Beta2, rest2: 1 - w.Beta2,
		step: float32(float64(w.LR) / w.Bias1), root: float32(math.Sqrt(w.Bias2)),
	}
	if a.mask.data == 0 {
		flatten(&a.param, &a.grad, &a.m, &a.v)
	}
	launch(s, "adamw", tiles(1, int(a.param.rows*a.param.cols)), a)
}

// SegmentSumSquares writes dst[k] = Σ x[i]² over segment k: sums of blocks of
// squaresBlock elements, then the sum of those.
func (s *Stream) SegmentSumSquares(dst, x kernels.Tensor, offsets []int) {
	const op = "segment sum of squares"
	s.fail(kernels.CheckSegmentSumSquares(dst, x, offsets))
	to, from := s.view(op, "dst", dst), s.view(op, "x", x)
	n := dst.Cols
	if s.err != nil || n == 0 {
		return
	}
	table := make([]byte, 16*(n+1)) // offsets, and the blocks before each segment
	blocks := 0
	for k, at := range offsets {
		binary.LittleEndian.PutUint64(table[8*k:], uint64(at))
		binary.LittleEndian.PutUint64(table[8*(n+1+k):], uint64(blocks))
		if k < n {
			blocks += ceil(offsets[k+1]-at, squaresBlock)
		}
	}
	at := s.temporary(len(table) + 8*blocks)
	s.uploadTemporary(table)
	first, partial := at+uint64(8*(n+1)), at+uint64(len(table))
	launch(s, "segment_squares", blocks, &segmentSquaresArgs{x: from.data, offsets: at, first: first, partial: partial, segments: int64(n)})
	launch(s, "segment_sums", ceil(n, threads), &segmentSumsArgs{dst: to.data, first: first, partial: partial, segments: int64(n)})
}

// uploadTemporary writes to the begin of what temporary returned; host has a multiple
// of 8 bytes.
func (s *Stream) uploadTemporary(host []byte) {
	if s.err != nil {
		return
	}
	whole := &buffer{device: s.device, piece: s.scratch.piece, bytes: s.scratch.piece.size}
	s.Upload(kernels.NewTensor(whole, kernels.U64, 1, len(host)/8), host)
}

// ColumnSumSquares writes dst[c] = Σ x[row][c]² over all rows.
func (s *Stream) ColumnSumSquares(dst, x kernels.Tensor) {
	const op = "column sum of squares"
	s.fail(kernels.CheckColumnSumSquares(dst, x))
	a := &columnSquaresArgs{dst: s.view(op, "dst", dst), x: s.view(op, "x", x)}
	launch(s, "column_squares", ceil(x.Cols, columns), a)
}
