//go:build cgo && linux

package cuda

import (
	"fmt"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// attentionArgs is the argument struct of attention.cuh.
type attentionArgs struct {
	head
	q, k, v, o, lse, lengths                             view
	dO, dq, dk, dv                                       view
	delta, lse2                                          uint64
	q16, k16, v16, dO16                                  uint64
	parts                                                uint64
	heads, kvHeads, dim, queryLen, keyLen, pitch, causal int32
	scale                                                float32
	queryRows, keyRows                                   int32
	splits, span, rounded, sequence                      int32
}

// tiling is how many rows and columns the products of a block have.
type tiling struct{ rows, cols int }

// attentionTiles returns, for heads of up to so many dimensions, those that kernels
// are built for, and their tiles as attention.cu and attention_backward.cu have them.
func attentionTiles(dim int) (built int, forward, queries, keys tiling) {
	switch {
	case dim <= 64:
		return (dim + 31) / 32 * 32, tiling{64, 64}, tiling{64, 64}, tiling{64, 32}
	case dim <= 96:
		return 96, tiling{64, 64}, tiling{64, 64}, tiling{32, 32}
	case dim <= 128:
		return 128, tiling{64, 64}, tiling{32, 64}, tiling{32, 32}
	default:
		return largestHead, tiling{32, 32}, tiling{16, 32}, tiling{16, 16}
	}
}

// largestHead is the head dimension up to which there are kernels.
const largestHead = 256

// shared is the shared memory for so many rows of dim columns each of both sides of the
// product, and for the product.
func (t tiling) shared(dim, rows, cols int) int {
	const pad = 4
	return 4 * ((rows*t.rows+cols*t.cols)*(dim+pad) + t.rows*(t.cols+pad))
}

// blocks is how many blocks take n rows of each of so many heads.
func (t tiling) blocks(heads, n int) int { return heads * ceil(n, t.rows) }

// AttentionForward writes O and LogSumExp.
func (s *Stream) AttentionForward(f kernels.AttentionArgs) {
	a := s.attention("attention", f)
	switch {
	case f.QueryLen <= fewQueries:
		s.attentionFew(f, a)
		return
	case s.device.options.Compute == kernels.BF16:
		s.attentionForwardBF16(f)
		return
	}
	dim, tiles, _, _ := attentionTiles(f.HeadDim)
	s.tiled("attention_forward", dim, tiles.shared(dim, 1, 1), tiles.blocks(f.Batch*f.Heads, f.QueryLen), a)
	s.checked("attention lengths", f.KeyLen+1, kernels.CheckRowIndex)
}

// AttentionBackward overwrites DQ, DK and DV.
func (s *Stream) AttentionBackward(f kernels.AttentionArgs, g kernels.AttentionGrads) {
	const op = "attention backward"
	a := s.attention(op, f)
	s.fail(g.Check(f))
	a.dO, a.dq, a.dk, a.dv = s.view(op, "dO", g.DO), s.view(op, "dQ", g.DQ), s.view(op, "dK", g.DK), s.view(op, "dV", g.DV)
	if s.err != nil {
		return
	}
	if s.device.options.Compute == kernels.BF16 {
		s.attentionBackwardBF16(f, g)
		return
	}
	pairs := f.Batch * f.Heads * f.QueryLen
	a.delta = s.temporary(4 * pairs)
	launch(s, "attention_delta", ceil(pairs, threads/32), a)
	s.checked("attention lengths", f.KeyLen+1, kernels.CheckRowIndex) // the launches behind this one then do nothing
	dim, _, queries, keys := attentionTiles(f.HeadDim)
	s.tiled("attention_queries", dim, queries.shared(dim, 2, 1), queries.blocks(f.Batch*f.Heads, f.QueryLen), a)
	s.tiled("attention_keys", dim, keys.shared(dim, 2, 2), keys.blocks(f.Batch*f.KVHeads, f.Pitch()), a)
}

// attention returns the arguments that forward and backward share.
func (s *Stream) attention(op string, f kernels.AttentionArgs) *attentionArgs {
	s.fail(f.Check())
	if f.HeadDim > largestHead {
		s.fail(fmt.Errorf("%s: heads have %d dimensions, want at most %d", op, f.HeadDim, largestHead))
	}
	return &attentionArgs{
		q: s.view(op, "Q", f.Q), k: s.view(op, "K", f.K), v: s.view(op, "V", f.V), o: s.view(op, "O", f.O),
		lse: s.view(op, "LogSumExp", f.LogSumExp), lengths: s.optional(op, "Lengths", f.Lengths),
		heads: int32(f.Heads), kvHeads: int32(f.KVHeads), dim: int32(f.HeadDim),
		queryLen: int32(f.QueryLen), keyLen: int32(f.KeyLen), pitch: int32(f.Pitch()), scale: f.Scale,
		causal: flag(f.Causal),
	}
}

// tiled launches the kernel that is built for dim, with that much dynamic shared memory.
func (s *Stream) tiled(kernel string, dim, shared, blocks int, a *attentionArgs) {
	launchWith(s, fmt.Sprintf("%s_%d", kernel, dim), driver.Dim{uint32(blocks), 1, 1}, threads, shared, blocks, a)
}
