package bench

import (
	"encoding/binary"
	"fmt"
	"math"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// Layer is a SparseLoRA layer of Size × Size weights.
type Layer struct {
	Tokens, Size, Rank int
	Pattern            sparse.Pattern
}

// Layers returns every pattern with every number of tokens, size and rank.
func Layers(patterns []sparse.Pattern, tokens, sizes, ranks []int) []Group {
	var groups []Group
	for _, d := range sizes {
		for _, t := range tokens {
			for _, rank := range ranks {
				for _, p := range patterns {
					groups = append(groups, Layer{t, d, rank, p}.group())
				}
			}
		}
	}
	return groups
}

func (l Layer) group() Group {
	return Group{Name: fmt.Sprintf("layer %d × %d × %d r%d %v", l.Tokens, l.Size, l.Size, l.Rank, l.Pattern), Sequence: true,
		Open: func(r *Rig) ([]Part, error) {
			if err := l.Pattern.Fits(l.Size); err != nil {
				return nil, err
			}
			return l.parts(r), nil
		}}
}

// parts are the stages of a layer's step, in the order of training.
func (l Layer) parts(r *Rig) []Part {
	x, dy := r.values(l.Tokens, l.Size, 1), r.values(l.Tokens, l.Size, 1)
	y, dx := r.zeros(kernels.F32, l.Tokens, l.Size), r.zeros(kernels.F32, l.Tokens, l.Size)
	mask := l.Pattern.Random(l.Size, l.Size, r.below)
	ours, theirs := r.weights(mask, l.Rank)
	dA, dB := r.zeros(kernels.F32, l.Rank, l.Size), r.zeros(kernels.F32, l.Size, l.Rank)
	kept, t, rank := float64(mask.Count()), float64(l.Tokens), float64(l.Rank)
	stored := float64(weightBytes(ours))
	activations, factors := float64(2*x.Bytes()), float64(dA.Bytes()+dB.Bytes())
	label := Label{Suite: "layer", Size: fmt.Sprintf("%d × %d × %d", l.Tokens, l.Size, l.Size), Pattern: l.Pattern.String(), Rank: l.Rank}
	part := func(op string, flops, bytes float64, run func(kernels.Stream, kernels.LinearWeight)) Part {
		p := Part{Label: label, Flops: flops, Bytes: bytes, ours: func() { run(r.stream, ours) }}
		p.Op = op
		if r.other != nil {
			p.theirs = func() { run(r.other, theirs) }
		}
		return p
	}
	return []Part{
		part("forward", 2*(t+rank)*kept, activations+stored, func(s kernels.Stream, w kernels.LinearWeight) { s.LinearForward(y, x, w, kernels.Tensor{}) }),
		part("dA, dB", (2*t+4*rank)*kept, activations+stored+factors, func(s kernels.Stream, w kernels.LinearWeight) { s.LinearBackwardAdapter(dA, dB, dy, x, w) }),
		part("dX", 2*(t+rank)*kept, activations+stored, func(s kernels.Stream, w kernels.LinearWeight) { s.LinearBackwardInput(dx, dy, w, false) }),
	}
}

// weights returns a masked weight with an adapter as our side holds it, packed and in
// bf16, and as the published form does, dense and in float32: the same numbers.
func (r *Rig) weights(mask sparse.Mask, rank int) (ours, theirs kernels.LinearWeight) {
	out, in := mask.Rows, mask.Cols
	size := float32(1 / math.Sqrt(float64(in)))
	theirs = kernels.LinearWeight{W: r.zeros(kernels.F32, out, in), Mask: r.zeros(kernels.U64, out, kernels.MaskWords(in)), Kept: mask.Count(),
		A: r.values(rank, in, size), B: r.values(out, rank, 0.1), Scale: 2, Round: kernels.BF16}
	narrow, wide := make([]byte, 2*out*in), make([]byte, 4*out*in)
	for i := range out * in {
		h := kernels.ToBF16(float32(int32(r.next())) / (1 << 31) * size)
		binary.LittleEndian.PutUint16(narrow[2*i:], h)
		binary.LittleEndian.PutUint16(wide[4*i+2:], h)
	}
	if r.err != nil {
		return theirs, theirs
	}
	r.stream.Upload(theirs.W, wide)
	r.stream.Upload(theirs.Mask, mask.Bytes())
	ours = theirs
	ours.W = kernels.Tensor{}
	p, err := sparse.Pack(mask, kernels.BF16, narrow)
	if err == nil {
		ours.Packed, err = p.Upload(r.device, r.stream)
	}
	if err != nil {
		r.err = err
		return theirs, theirs
	}
	r.buffers = append(r.buffers, ours.Packed.Values.Buffer, ours.Packed.Offsets.Buffer)
	return ours, theirs
}

// weightBytes is what has to be read of a weight of ours.
func weightBytes(w kernels.LinearWeight) int {
	return w.Packed.Values.Bytes() + w.Packed.Offsets.Bytes() + w.Mask.Bytes() + w.A.Bytes() + w.B.Bytes()
}
