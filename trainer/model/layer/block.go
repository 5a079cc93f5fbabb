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

// Forward takes over x (B·T, C) and returns the block's output of the same
// shape, which is x itself unless keep is set. The state is nil without keep.
func (b *Block) Forward(l *model.Lane, x kernels.Tensor, s Sequences, v model.Variant, keep bool) (kernels.Tensor, *BlockState) {
	return b.forward(l, x, s, v, keep, nil)
}

func (b *Block) forward(l *model.Lane, x kernels.Tensor, s Sequences, v model.Variant, keep bool, cache *cachedLayer) (kernels.Tensor, *BlockState) {
	st := &BlockState{x: x}
	n, y := l.Scratch(x.Rows, x.Cols), l.Scratch(x.Rows, x.Cols)
	st.stats1 = b.Norm1.forward(l, n, x, v)
	st.attention = b.Attention.forward(l, y, n, s, v, cache)
	if !keep {
		st.attention.release(l)
	}
	st.h = b.join(l, x, y, keep)

	y = l.Scratch(x.Rows, x.Cols)
	st.stats2 = b.Norm2.forward(l, n, st.h, v)
	st.mlp = b.MLP.forward(l, y, n, v, keep)
	l.Free(n)
	out := b.join(l, st.h, y, keep)
	if !keep {
		st.stats1.free(l)
		st.stats2.free(l)
		return out, nil
	}
	return out, st
}

// join adds y to the residual stream: into y where the old stream is kept, else
// into the stream, freeing y.
func (b *Block) join(l *model.Lane, stream, y kernels.Tensor, keep bool) kernels.Tensor {
	if keep {
		l.Stream.Add(y, stream, y)
		return y
	}
	l.Stream.Add(stream, stream, y)
	l.Free(y)
	return stream
}

// Backward turns d (B·T, C), the gradient of the output, into the gradient of
// the input, in place, and writes the gradients of what is trained. Without
// needInput it stops below the lowest trained parameter and leaves d undefined.
// It releases st.
func (b *Block) Backward(l *model.Lane, d kernels.Tensor, s Sequences, st *BlockState, needInput bool) {
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
