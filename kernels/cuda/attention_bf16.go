//go:build cgo && linux

package cuda

import (
	"fmt"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// attentionRoundArgs is the argument struct of attention_round.
type attentionRoundArgs struct {
	head
	x, y, lengths                   view
	xTo, yTo                        uint64
	heads, dim, built, rows         int32
	pitch, valid, negated, sequence int32
}

// flash is how a block of a kernel on tensor cores divides its product: so many rows with
// it (64 for each 16 of a warp), so many of the other side at a time in so many stages,
// and so many blocks for the columns of a head.
type flash struct{ rows, others, stages, halves int }

const (
	flashThreads = 128 // FLASH_THREADS
	flashPad     = 8   // behind each row of a tile
	flashRows    = 128 // the rows of a head in scratch are a multiple of this
)

// flashTiles returns, for heads of up to so many dimensions, those that kernels are built
// for, and their tiles as attention_bf16.cu and attention_backward_bf16.cu have them.
func flashTiles(dim int) (built int, forward, queries, keys flash) {
	switch {
	case dim <= 64:
		return (dim + 31) / 32 * 32, flash{128, 64, 1, 1}, flash{128, 32, 1, 1}, flash{128, 32, 2, 1}
	case dim <= 96:
		return (dim + 15) / 16 * 16, flash{128, 32, 1, 1}, flash{128, 32, 1, 1}, flash{64, 32, 2, 1}
	case dim <= 128:
		return 128, flash{128, 32, 1, 1}, flash{64, 64, 1, 1}, flash{64, 32, 2, 1}
	default:
		return largestHead, flash{64, 32, 1, 1}, flash{64, 16, 1, 1}, flash{64, 16, 1, 2}
	}
}

// shared is the shared memory of tiles of dim columns: so many with the block's rows, and
// two with the others' in each stage, which has so many floats a row beside them.
func (f flash) shared(dim, own, floats int) int {
	return 2*(dim+flashPad)*(own*f.rows+2*f.stages*f.others) + 4*f.stages*f.others*floats
}

// launch launches the kernel that is built for dim, for n rows of each of so many heads.
func (f flash) launch(s *Stream, kernel string, dim, shared, heads, n int, a *attentionArgs) {
	blocks := heads * ceil(n, f.rows)
	grid := driver.Dim{uint32(blocks), uint32(f.halves), 1}
	launchWith(s, fmt.Sprintf("%s_bf16_%d", kernel, dim), grid, flashThreads, shared, blocks*f.halves, a)
}

// flashScratch is how many rows a head has there.
func flashScratch(rows int) int { return ceil(rows, flashRows) * flashRows }

// roundedBytes is what one operand takes in scratch, of so many heads.
func roundedBytes(heads, rows, dim int) int { return 2 * heads * rows * dim }

// round launches attention_round for its two operands.
func (s *Stream) round(r attentionRoundArgs, batch int) {
	blocks := ceil(batch*int(r.heads)*int(r.rows)*int(r.built/8), threads)
	launchWith(s, "attention_round", driver.Dim{uint32(blocks), 2, 1}, threads, 0, 2*blocks, &r)
}

// scratchLimit is how much scratch a call takes on tensor cores, but for a single sequence
// that needs more: it takes the sequences in groups.
const scratchLimit = 64 << 20

// sequences calls f for groups of sequences, each of which needs so much scratch.
func (s *Stream) sequences(batch, each int, f func(first, n int)) {
	n := max(1, s.device.scratchLimit/each)
	for first := 0; first < batch && s.err == nil; first += n {
		f(first, min(n, batch-first))
	}
}

// some returns n of the call's sequences.
func some(f kernels.AttentionArgs, first, n int) kernels.AttentionArgs {
	all := f.Batch
	for _, t := range []*kernels.Tensor{&f.Q, &f.K, &f.V, &f.O, &f.LogSumExp} {
		*t = rowsOf(*t, all, first, n)
	}
	if !f.Lengths.IsZero() {
		f.Lengths = f.Lengths.SliceCols(first, first+n)
	}
	f.Batch = n
	return f
}

// rowsOf returns the rows of n of all sequences.
func rowsOf(t kernels.Tensor, all, first, n int) kernels.Tensor {
	each := t.Rows / all
	return t.SliceRows(first*each, (first+n)*each)
}

// roundKeys writes keys and values to a.k16 and a.v16, and checks lengths.
func (s *Stream) roundKeys(f kernels.AttentionArgs, a *attentionArgs, dim int) {
	s.round(attentionRoundArgs{
		x: a.k, y: a.v, lengths: a.lengths, xTo: a.k16, yTo: a.v16, sequence: a.sequence,
		heads: a.kvHeads, dim: a.dim, built: int32(dim), rows: a.keyRows, pitch: a.pitch, valid: a.keyLen,
	}, f.Batch)
	s.checked("attention lengths", f.KeyLen+1, kernels.CheckRowIndex) // the launches behind this one then do nothing
}

// attentionForwardBF16 is the forward pass on tensor cores.
func (s *Stream) attentionForwardBF16(f kernels.AttentionArgs) {
	if s.err != nil {
		return
	}
	dim, forward, _, _ := flashTiles(f.HeadDim)
	keyRows := flashScratch(f.KeyLen)
	each := roundedBytes(f.KVHeads, keyRows, dim)
	s.sequences(f.Batch, 2*each, func(first, n int) {
		f := some(f, first, n)
		a := s.attention("attention", f)
		a.sequence, a.keyRows, a.k16 = int32(first), int32(keyRows), s.temporary(2*n*each)
		a.v16 = a.k16 + uint64(n*each)
		s.roundKeys(f, a, dim)
		forward.launch(s, "attention_forward", dim, forward.shared(dim, 1, 0), n*f.Heads, f.QueryLen, a)
	})
}

// attentionBackwardBF16 is the backward pass on tensor cores.
func (s *Stream) attentionBackwardBF16(f kernels.AttentionArgs, g kernels.AttentionGrads) {
	if s.err != nil {
		return
	}
	const op = "attention backward"
	dim, _, queries, keys := flashTiles(f.HeadDim)
	queryRows, keyRows := flashScratch(f.QueryLen), flashScratch(f.KeyLen)
	pairs := f.Heads * queryRows
	q, k := roundedBytes(f.Heads, queryRows, dim), roundedBytes(f.KVHeads, keyRows, dim)
	each := 2*(q+k) + 2*4*pairs
	batch := f.Batch
	s.sequences(batch, each, func(first, n int) {
		f := some(f, first, n)
		a := s.attention(op, f)
		grad := func(name string, t kernels.Tensor) view { return s.view(op, name, rowsOf(t, batch, first, n)) }
		a.dO, a.dq, a.dk, a.dv = grad("dO", g.DO), grad("dQ", g.DQ), grad("dK", g.DK), grad("dV", g.DV)
		at := s.temporary(n * each)
		next := func(bytes int) uint64 {
			at += uint64(n * bytes)
			return at - uint64(n*bytes)
		}
		a.q16, a.dO16, a.k16, a.v16, a.delta, a.lse2 = next(q), next(q), next(k), next(k), next(4*pairs), next(4*pairs)
		a.sequence, a.queryRows, a.keyRows = int32(first), int32(queryRows), int32(keyRows)
		s.roundKeys(f, a, dim)
		s.round(attentionRoundArgs{
			x: a.q, y: a.dO, xTo: a.q16, yTo: a.dO16, negated: flag(f.Scale < 0),
			heads: a.heads, dim: a.dim, built: int32(dim), rows: a.queryRows, pitch: a.queryLen, valid: a.queryLen,
		}, n)
		launch(s, "attention_delta_bf16", ceil(n*pairs, threads/32), a)
		queries.launch(s, "attention_queries", dim, queries.shared(dim, 2, 0), n*f.Heads, f.QueryLen, a)
		keys.launch(s, "attention_keys", dim, keys.shared(dim, 2, 2), n*f.KVHeads, f.Pitch(), a)
	})
}
