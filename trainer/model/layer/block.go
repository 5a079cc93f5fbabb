package layer

import (
	"ressa/kernels"
	"ressa/trainer/model"
)

// Block is a pre-norm transformer block over (B·T, C):
//
//	h = x + Attention(Norm1(x))
//	y = h + MLP(Norm2(h))
type Block struct {
	Norm1     Norm
	Attention Attention
	Norm2     Norm
	MLP       MLP
}

// Linears returns the block's linear layers in canonical order.
func (b *Block) Linears() []*model.Linear {
	a, m := &b.Attention, &b.MLP
	ns := []*model.Linear{a.Q, a.K, a.V, a.Out}
	if m.Gate != nil {
		ns = append(ns, m.Gate)
	}
	return append(ns, m.Up, m.Down)
}

// Trained reports whether anything of the block is trained.
func (b *Block) Trained() bool {
	return b.Norm1.Trained() || b.Attention.Trained() || b.Norm2.Trained() || b.MLP.Trained()
}

// BlockState is what a block keeps for its backward.
type BlockState struct {
	x, h           kernels.Tensor // residual stream before each half, (B·T, C)
	stats1, stats2 stats
	attention      attentionState
	mlp            mlpState
}

// Release frees what is kept.
func (s *BlockState) Release(l *model.Lane) {
	l.Free(s.x, s.h)
	s.stats1.free(l)
	s.stats2.free(l)
	s.attention.release(l)
	s.mlp.release(l)
	*s = BlockState{}
}

// Keep says what a forward leaves for the backward.
type Keep uint8

const (
	KeepNothing   Keep = iota
	KeepInput          // x alone: backward computes the rest again
	KeepAttention      // all but what goes into the MLP's activation
	KeepAll
)

// Forward takes over x (B·T, C) and returns the block's output of the same
// shape, which is x itself with KeepNothing. The state is nil then.
func (b *Block) Forward(l *model.Lane, x kernels.Tensor, s Sequences, v model.Variant, keep Keep) (kernels.Tensor, *BlockState) {
	out, st := b.forward(l, residual{x: x}, s, v, keep, nil)
	return out.join(l), st
}

func (b *Block) forward(l *model.Lane, in residual, s Sequences, v model.Variant, keep Keep, cache *cachedLayer) (residual, *BlockState) {
	st := &BlockState{}
	y := b.inside(l, in, st, s, v, keep, cache)
	b.MLP.project(l, y, st.mlp, v, keep == KeepAll)
	out := residual{x: st.h, y: y, kept: keep >= KeepAttention}
	switch keep {
	case KeepNothing:
		return out, nil
	case KeepInput:
		return out, &BlockState{x: st.x}
	case KeepAttention:
		st.mlp = mlpState{}
	}
	return out, st
}

// inside computes up to the activation of the MLP what backward needs, into st,
// and returns scratch memory of the stream's shape. Where less than attention is
// kept, only st.mlp and st.h are left, and st.x where that is kept.
func (b *Block) inside(l *model.Lane, in residual, st *BlockState, s Sequences, v model.Variant, keep Keep, cache *cachedLayer) kernels.Tensor {
	y := l.Scratch(in.x.Rows, in.x.Cols)
	st.x, st.stats1 = in.norm(l, y, &b.Norm1, v)
	st.attention = b.Attention.forward(l, y, y, s, v, cache)
	if keep < KeepAttention {
		st.attention.release(l)
		st.stats1.free(l)
	}
	n := l.Scratch(y.Rows, y.Cols)
	st.h, st.stats2 = residual{x: st.x, y: y, kept: keep != KeepNothing}.norm(l, n, &b.Norm2, v)
	if keep < KeepAttention {
		st.stats2.free(l)
	}
	st.mlp = b.MLP.expand(l, n, v)
	return n
}

// Backward turns d (B·T, C), the gradient of the output, into the gradient of
// the input, in place, and writes the gradients of what is trained. Without
// needInput it stops below the lowest trained parameter and leaves d undefined.
// It releases st.
func (b *Block) Backward(l *model.Lane, d kernels.Tensor, s Sequences, st *BlockState, needInput bool) {
	switch {
	case st.h.IsZero(): // only the input was kept
		l.Free(b.inside(l, residual{x: st.x}, st, s, model.Student, KeepAll, nil))
	case st.mlp.up.IsZero():
		n := l.Scratch(d.Rows, d.Cols)
		b.Norm2.Forward(l, n, st.h, model.Student)
		st.mlp = b.MLP.expand(l, n, model.Student)
		l.Free(n)
	}
	lower := needInput || b.Norm1.Trained() || b.Attention.Trained()
	b.backwardMLP(l, d, st, lower)
	l.Free(st.h)
	st.h = kernels.Tensor{}
	if lower {
		b.backwardAttention(l, d, s, st, needInput)
	}
	st.Release(l)
}

func (b *Block) backwardMLP(l *model.Lane, d kernels.Tensor, st *BlockState, needInput bool) {
	through := needInput || b.Norm2.Trained()
	if !through && !b.MLP.Trained() {
		return
	}
	var n, dn kernels.Tensor
	if ReadsInput(b.MLP.Gate, b.MLP.Up) {
		n = l.Scratch(d.Rows, d.Cols)
		b.Norm2.Forward(l, n, st.h, model.Student)
	}
	if through {
		dn = l.Scratch(d.Rows, d.Cols)
	}
	b.MLP.backward(l, dn, d, n, &st.mlp)
	l.Free(n)
	if through {
		b.Norm2.backward(l, d, dn, st.h, st.stats2, true)
		l.Free(dn)
	}
}

func (b *Block) backwardAttention(l *model.Lane, d kernels.Tensor, s Sequences, st *BlockState, needInput bool) {
	a := &b.Attention
	var n, dn kernels.Tensor
	if ReadsInput(a.Q, a.K, a.V) {
		n = l.Scratch(d.Rows, d.Cols)
		b.Norm1.Forward(l, n, st.x, model.Student)
	}
	through := needInput || b.Norm1.Trained()
	if through {
		dn = l.Scratch(d.Rows, d.Cols)
	}
	a.backward(l, dn, d, n, s, &st.attention)
	l.Free(n)
	if through {
		b.Norm1.backward(l, d, dn, st.x, st.stats1, true)
		l.Free(dn)
	}
}
