package layer

import (
	"math"

	"ressa/kernels"
	"ressa/trainer/model"
)

// Sequences says how the rows of a hidden state (Count·Length, C) form sequences.
// Right padding needs no lengths in causal attention: no token sees what follows
// it. The tensors belong to whoever made them.
type Sequences struct {
	Count, Length int
	Positions     kernels.Tensor // I32 (1, Count·Length), read by rotary layers
}

// Attention is multi-head self-attention. B = sequences, T = tokens of each,
// H = heads, K = key-value heads, D = width of a head, C = hidden width.
type Attention struct {
	Q, K, V, Out            *model.Linear // (H·D, C), (K·D, C), (K·D, C), (C, H·D)
	Heads, KVHeads, HeadDim int
	Causal                  bool
	Rotary                  *Rotary // nil without rotary positions
}

// Trained reports whether any of the four linears is trained.
func (a *Attention) Trained() bool { return TrainedLinear(a.Q, a.K, a.V, a.Out) }

// attentionState is what backward needs: queries and keys after rotation.
type attentionState struct {
	q, k, v, o, lse kernels.Tensor
}

func (s *attentionState) release(l *model.Lane) {
	l.Free(s.q, s.k, s.v, s.o, s.lse)
	*s = attentionState{}
}

// forward writes y (B·T, C) for the normalised x (B·T, C), which may be y, and
// returns the state, which the caller releases. Where cache is present, keys and values go there
// too, and later tokens attend to it.
func (a *Attention) forward(l *model.Lane, y, x kernels.Tensor, s Sequences, v model.Variant, cache *cachedLayer) attentionState {
	rows := x.Rows
	st := attentionState{
		q: l.Scratch(rows, a.Heads*a.HeadDim),
		k: l.Scratch(rows, a.KVHeads*a.HeadDim),
		v: l.Scratch(rows, a.KVHeads*a.HeadDim),
	}
	a.Q.Forward(l, st.q, x, v)
	a.K.Forward(l, st.k, x, v)
	a.V.Forward(l, st.v, x, v)
	if a.Rotary != nil {
		a.Rotary.rotate(l, st.q, a.HeadDim, s.Positions, false)
		a.Rotary.rotate(l, st.k, a.HeadDim, s.Positions, false)
	}
	st.o, st.lse = l.Scratch(rows, a.Heads*a.HeadDim), l.Scratch(s.Count*a.Heads, s.Length)
	args := a.args(st, s)
	if cache != nil {
		cache.write(l, st.k, st.v)
		cache.attend(&args)
	}
	l.Stream.AttentionForward(args)
	a.Out.Forward(l, y, st.o, v)
	return st
}

func (a *Attention) args(st attentionState, s Sequences) kernels.AttentionArgs {
	return kernels.AttentionArgs{
		Batch: s.Count, Heads: a.Heads, KVHeads: a.KVHeads, HeadDim: a.HeadDim,
		QueryLen: s.Length, KeyLen: s.Length,
		Q: st.q, O: st.o, K: st.k, V: st.v, LogSumExp: st.lse,
		Causal: a.Causal, Scale: float32(1 / math.Sqrt(float64(a.HeadDim))),
	}
}

// backward writes the gradients of what is trained and, where dx is present, the
// gradient dx (B·T, C) of the normalised input. x is that input, read only where
// [ReadsInput] says so. It releases st.
func (a *Attention) backward(l *model.Lane, dx, dy, x kernels.Tensor, s Sequences, st *attentionState) {
	do := l.Scratch(st.o.Rows, st.o.Cols)
	a.Out.Backward(l, do, dy, st.o, false)
	dq, dk, dv := l.Scratch(st.q.Rows, st.q.Cols), l.Scratch(st.k.Rows, st.k.Cols), l.Scratch(st.v.Rows, st.v.Cols)
	l.Stream.AttentionBackward(a.args(*st, s), kernels.AttentionGrads{DO: do, DQ: dq, DK: dk, DV: dv})
	st.release(l)
	l.Free(do)
	if a.Rotary != nil {
		a.Rotary.rotate(l, dq, a.HeadDim, s.Positions, true)
		a.Rotary.rotate(l, dk, a.HeadDim, s.Positions, true)
	}
	a.Q.Backward(l, dx, dq, x, false)
	a.K.Backward(l, dx, dk, x, true)
	a.V.Backward(l, dx, dv, x, true)
	l.Free(dq, dk, dv)
}
