package bench

import (
	"math"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// layer returns the stages of a layer's step in the order of training.
func (o *operands) layer(c Case, p sparse.Packed, round kernels.DType) []Part {
	x, dy := o.values("x", c.Tokens, c.In, 1), o.values("dy", c.Tokens, c.Out, 1)
	y, dx := o.zeros("y", kernels.F32, c.Tokens, c.Out), o.zeros("dx", kernels.F32, c.Tokens, c.In)
	w := o.weight(p, c.Rank, round)
	dA, dB := o.zeros("dA", kernels.F32, c.Rank, c.In), o.zeros("dB", kernels.F32, c.Out, c.Rank)
	t, size, rank := float64(c.Tokens), float64(c.Out)*float64(c.In), float64(c.Rank)
	activations, factors := float64(x.Bytes()+dy.Bytes()), float64(dA.Bytes()+dB.Bytes())
	stored := float64(len(p.Values)+4*len(p.Offsets)+w.Mask.Bytes()) + factors
	return []Part{
		{"forward", 2 * (t + rank) * size, activations + stored, func(s kernels.Stream) { s.LinearForward(y, x, w, kernels.Tensor{}) }},
		{"dA, dB", (2*t + 4*rank) * size, activations + float64(w.Mask.Bytes()) + 2*factors, func(s kernels.Stream) { s.LinearBackwardAdapter(dA, dB, dy, x, w) }},
		{"dX", 2 * (t + rank) * size, activations + stored, func(s kernels.Stream) { s.LinearBackwardInput(dx, dy, w, false) }},
	}
}

// attention is of one sequence, each head with keys of its own.
func (o *operands) attention(c Case) []Part {
	width := c.Heads * c.HeadDim
	a := kernels.AttentionArgs{Batch: 1, Heads: c.Heads, KVHeads: c.Heads, HeadDim: c.HeadDim, QueryLen: c.Tokens, KeyLen: c.Tokens, Causal: c.Causal,
		Scale: float32(1 / math.Sqrt(float64(c.HeadDim))),
		Q:     o.values("q", c.Tokens, width, 1), K: o.values("k", c.Tokens, width, 1), V: o.values("v", c.Tokens, width, 1),
		O: o.zeros("o", kernels.F32, c.Tokens, width), LogSumExp: o.zeros("lse", kernels.F32, c.Heads, c.Tokens)}
	g := kernels.AttentionGrads{DO: o.values("do", c.Tokens, width, 1), DQ: o.zeros("dq", kernels.F32, c.Tokens, width),
		DK: o.zeros("dk", kernels.F32, c.Tokens, width), DV: o.zeros("dv", kernels.F32, c.Tokens, width)}
	pairs := float64(c.Heads) * float64(c.Tokens) * float64(c.Tokens)
	if c.Causal {
		pairs /= 2
	}
	product, each := 2*pairs*float64(c.HeadDim), float64(a.Q.Bytes())
	return []Part{
		{"forward", 2 * product, 4 * each, func(s kernels.Stream) { s.AttentionForward(a) }},
		{"backward", 5 * product, 8 * each, func(s kernels.Stream) { s.AttentionBackward(a, g) }},
	}
}

// lossWeight is the share of the distillation.
const lossWeight = 0.5

// loss has cross-entropy, KL and the gradient in one operation.
func (o *operands) loss(c Case) []Part {
	n := float32(c.Tokens)
	a := kernels.CrossEntropyKLArgs{Temperature: 1, CEScale: (1 - lossWeight) / n, KLScale: lossWeight / n,
		Logits:   o.values("logits", c.Tokens, c.Vocabulary, 4),
		Teachers: []kernels.TeacherLogits{{Logits: o.values("teacher", c.Tokens, c.Vocabulary, 4), Weight: 1}},
		Labels:   o.integers("labels", c.Tokens, func(int) int { return o.random.below(c.Vocabulary) }),
		DLogits:  o.zeros("dlogits", kernels.F32, c.Tokens, c.Vocabulary), Losses: o.zeros("losses", kernels.F32, c.Tokens, 2)}
	return []Part{{"step", 0, 3 * float64(a.Logits.Bytes()), func(s kernels.Stream) { s.CrossEntropyKL(a) }}}
}

// memory are the operations of a transformer's block beside its products, and AdamW.
func (o *operands) memory(c Case) []Part {
	x, up, dy := o.values("x", c.Tokens, c.In, 3), o.values("up", c.Tokens, c.In, 1), o.values("dy", c.Tokens, c.In, 1)
	y, also := o.zeros("y", kernels.F32, c.Tokens, c.In), o.zeros("also", kernels.F32, c.Tokens, c.In)
	gamma, rstd := o.values("gamma", 1, c.In, 1), o.zeros("rstd", kernels.F32, 1, c.Tokens)
	m, v := o.zeros("m", kernels.F32, c.Tokens, c.In), o.zeros("v", kernels.F32, c.Tokens, c.In)
	adam := kernels.AdamWArgs{Param: y, Grad: dy, M: m, V: v, LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Bias1: 0.5, Bias2: 0.5, GradScale: 1}
	each := float64(x.Bytes())
	return []Part{
		{"copy", 0, 2 * each, func(s kernels.Stream) { s.Convert(y, x) }},
		{"rms norm", 0, 2 * each, func(s kernels.Stream) { s.RMSNorm(y, x, gamma, 1e-5, rstd) }},
		{"rms norm backward", 0, 3 * each, func(s kernels.Stream) { s.RMSNormBackward(y, kernels.Tensor{}, dy, x, gamma, rstd, false) }},
		{"swiglu", 0, 3 * each, func(s kernels.Stream) { s.Gate(y, x, up, kernels.SiLU) }},
		{"swiglu backward", 0, 5 * each, func(s kernels.Stream) { s.GateBackward(y, also, dy, x, up, kernels.SiLU) }},
		{"adamw", 0, 7 * each, func(s kernels.Stream) { s.AdamW(adam) }},
	}
}
