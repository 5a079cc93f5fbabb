//go:build unix

package opaque

import (
	"slices"

	"ressa/kernels"
)

// k is a kernels.Stream that computes; at gives addressable views. Short names:
// what follows is a list of forwarded calls, in the order of the interfaces.

type (
	tensor = kernels.Tensor
	view   = func(kernels.Tensor) kernels.Tensor
)

func (s *stream) Upload(dst tensor, src []byte) {
	s.enqueue(func(k kernels.Stream, at view) { k.Upload(at(dst), src) })
}

func (s *stream) Download(dst []byte, src tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.Download(dst, at(src)) })
}

func (s *stream) Fill(dst tensor, v float32) {
	s.enqueue(func(k kernels.Stream, at view) { k.Fill(at(dst), v) })
}

func (s *stream) Convert(dst, src tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.Convert(at(dst), at(src)) })
}

func (s *stream) Add(dst, a, b tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.Add(at(dst), at(a), at(b)) })
}

func (s *stream) AddRounded(dst, a, b tensor, round kernels.DType) {
	s.enqueue(func(k kernels.Stream, at view) { k.AddRounded(at(dst), at(a), at(b), round) })
}

func (s *stream) AddRows(dst, x, p tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.AddRows(at(dst), at(x), at(p)) })
}

func (s *stream) SumRowGroups(dst, x tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.SumRowGroups(at(dst), at(x)) })
}

func (s *stream) GatherRows(dst, src, index tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.GatherRows(at(dst), at(src), at(index)) })
}

func (s *stream) ScatterRows(dst, src, index tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.ScatterRows(at(dst), at(src), at(index)) })
}

func (s *stream) ScatterAddRows(dst, src, index tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.ScatterAddRows(at(dst), at(src), at(index)) })
}

func (s *stream) Activate(y, x tensor, f kernels.Activation) {
	s.enqueue(func(k kernels.Stream, at view) { k.Activate(at(y), at(x), f) })
}

func (s *stream) ActivateBackward(dx, dy, x tensor, f kernels.Activation) {
	s.enqueue(func(k kernels.Stream, at view) { k.ActivateBackward(at(dx), at(dy), at(x), f) })
}

func (s *stream) Gate(y, gate, up tensor, f kernels.Activation) {
	s.enqueue(func(k kernels.Stream, at view) { k.Gate(at(y), at(gate), at(up), f) })
}

func (s *stream) GateBackward(dgate, dup, dy, gate, up tensor, f kernels.Activation) {
	s.enqueue(func(k kernels.Stream, at view) { k.GateBackward(at(dgate), at(dup), at(dy), at(gate), at(up), f) })
}

func (s *stream) Rotate(x tensor, headDim int, cos, sin, positions tensor, inverse bool) {
	s.enqueue(func(k kernels.Stream, at view) { k.Rotate(at(x), headDim, at(cos), at(sin), at(positions), inverse) })
}

func (s *stream) ArgmaxRows(dst, x tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.ArgmaxRows(at(dst), at(x)) })
}

func (s *stream) Gemm(g kernels.GemmArgs) {
	s.enqueue(func(k kernels.Stream, at view) {
		g.C, g.A, g.B = at(g.C), at(g.A), at(g.B)
		k.Gemm(g)
	})
}

func weight(w kernels.LinearWeight, at view) kernels.LinearWeight {
	w.W, w.Mask, w.A, w.B = at(w.W), at(w.Mask), at(w.A), at(w.B)
	w.Packed.Values, w.Packed.Offsets = at(w.Packed.Values), at(w.Packed.Offsets)
	return w
}

func (s *stream) LinearForward(y, x tensor, w kernels.LinearWeight, bias tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.LinearForward(at(y), at(x), weight(w, at), at(bias)) })
}

func (s *stream) LinearBackwardInput(dx, dy tensor, w kernels.LinearWeight, accumulate bool) {
	s.enqueue(func(k kernels.Stream, at view) { k.LinearBackwardInput(at(dx), at(dy), weight(w, at), accumulate) })
}

func (s *stream) LinearBackwardAdapter(dA, dB, dy, x tensor, w kernels.LinearWeight) {
	s.enqueue(func(k kernels.Stream, at view) { k.LinearBackwardAdapter(at(dA), at(dB), at(dy), at(x), weight(w, at)) })
}

func (s *stream) LinearBackwardWeight(dW, dy, x, mask tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.LinearBackwardWeight(at(dW), at(dy), at(x), at(mask)) })
}

func (s *stream) EffectiveWeight(dst tensor, w kernels.LinearWeight) {
	s.enqueue(func(k kernels.Stream, at view) { k.EffectiveWeight(at(dst), weight(w, at)) })
}

func attention(a kernels.AttentionArgs, at view) kernels.AttentionArgs {
	a.Q, a.K, a.V, a.O = at(a.Q), at(a.K), at(a.V), at(a.O)
	a.LogSumExp, a.Lengths = at(a.LogSumExp), at(a.Lengths)
	return a
}

func (s *stream) AttentionForward(a kernels.AttentionArgs) {
	s.enqueue(func(k kernels.Stream, at view) { k.AttentionForward(attention(a, at)) })
}

func (s *stream) AttentionBackward(a kernels.AttentionArgs, g kernels.AttentionGrads) {
	s.enqueue(func(k kernels.Stream, at view) {
		k.AttentionBackward(attention(a, at), kernels.AttentionGrads{DO: at(g.DO), DQ: at(g.DQ), DK: at(g.DK), DV: at(g.DV)})
	})
}

func (s *stream) LayerNorm(y, x, gamma, beta tensor, eps float32, mean, rstd tensor) {
	s.enqueue(func(k kernels.Stream, at view) {
		k.LayerNorm(at(y), at(x), at(gamma), at(beta), eps, at(mean), at(rstd))
	})
}

func (s *stream) LayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd tensor, accumulate bool) {
	s.enqueue(func(k kernels.Stream, at view) {
		k.LayerNormBackward(at(dx), at(dgamma), at(dbeta), at(dy), at(x), at(gamma), at(mean), at(rstd), accumulate)
	})
}

func (s *stream) RMSNorm(y, x, gamma tensor, eps float32, rstd tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.RMSNorm(at(y), at(x), at(gamma), eps, at(rstd)) })
}

func (s *stream) AddLayerNorm(y, h, x, r, gamma, beta tensor, eps float32, mean, rstd tensor) {
	s.enqueue(func(k kernels.Stream, at view) {
		k.AddLayerNorm(at(y), at(h), at(x), at(r), at(gamma), at(beta), eps, at(mean), at(rstd))
	})
}

func (s *stream) AddRMSNorm(y, h, x, r, gamma tensor, eps float32, rstd tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.AddRMSNorm(at(y), at(h), at(x), at(r), at(gamma), eps, at(rstd)) })
}

func (s *stream) RMSNormBackward(dx, dgamma, dy, x, gamma, rstd tensor, accumulate bool) {
	s.enqueue(func(k kernels.Stream, at view) {
		k.RMSNormBackward(at(dx), at(dgamma), at(dy), at(x), at(gamma), at(rstd), accumulate)
	})
}

func (s *stream) CrossEntropyKL(a kernels.CrossEntropyKLArgs) {
	a.Teachers = slices.Clone(a.Teachers)
	s.enqueue(func(k kernels.Stream, at view) {
		a.Logits, a.Labels, a.DLogits, a.Losses = at(a.Logits), at(a.Labels), at(a.DLogits), at(a.Losses)
		for i := range a.Teachers {
			a.Teachers[i].Logits = at(a.Teachers[i].Logits)
		}
		k.CrossEntropyKL(a)
	})
}

func (s *stream) AdamW(a kernels.AdamWArgs) {
	s.enqueue(func(k kernels.Stream, at view) {
		a.Param, a.Grad, a.M, a.V, a.Mask = at(a.Param), at(a.Grad), at(a.M), at(a.V), at(a.Mask)
		k.AdamW(a)
	})
}

func (s *stream) SegmentSumSquares(dst, x tensor, offsets []int) {
	offsets = slices.Clone(offsets)
	s.enqueue(func(k kernels.Stream, at view) { k.SegmentSumSquares(at(dst), at(x), offsets) })
}

func (s *stream) ColumnSumSquares(dst, x tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.ColumnSumSquares(at(dst), at(x)) })
}

func (s *stream) SelectMask(a kernels.SelectMaskArgs) {
	s.enqueue(func(k kernels.Stream, at view) {
		a.Mask, a.Bad, a.W, a.Norms = at(a.Mask), at(a.Bad), at(a.W), at(a.Norms)
		k.SelectMask(a)
	})
}

func (s *stream) PackKept(dst, src, mask tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.PackKept(at(dst), at(src), at(mask)) })
}

func (s *stream) UnpackKept(dst, src, mask tensor) {
	s.enqueue(func(k kernels.Stream, at view) { k.UnpackKept(at(dst), at(src), at(mask)) })
}
