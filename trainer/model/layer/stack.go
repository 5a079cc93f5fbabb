package layer

import (
	"ressa/kernels"
	"ressa/trainer/model"
)

// Stack is a run of blocks, the lowest first.
type Stack []*Block

// Linears returns the linear layers of all blocks in canonical order.
func (s Stack) Linears() []*model.Linear {
	var ns []*model.Linear
	for _, b := range s {
		ns = append(ns, b.Linears()...)
	}
	return ns
}

// Trained reports whether anything of the blocks is trained.
func (s Stack) Trained() bool {
	for _, b := range s {
		if b.Trained() {
			return true
		}
	}
	return false
}

// StackState is what the blocks keep, nil for those without backward.
type StackState []*BlockState

// Release frees what is kept.
func (s StackState) Release(l *model.Lane) {
	for i, b := range s {
		if b != nil {
			b.Release(l)
			s[i] = nil
		}
	}
}

// Forward takes over x (B·T, C) and returns the output of the last block. With
// keep, state is kept from the lowest trained block on, and from the first one
// where below says that the gradient of x may be asked for; of less
// where the lane says so.
func (s Stack) Forward(l *model.Lane, x kernels.Tensor, q Sequences, v model.Variant, keep, below bool) (kernels.Tensor, StackState) {
	states, r := make(StackState, len(s)), residual{x: x}
	for i, b := range s {
		below = below || b.Trained()
		what := KeepNothing
		if keep && below {
			what = []Keep{model.RecomputeNothing: KeepAll, model.RecomputeMLPs: KeepAttention, model.RecomputeBlocks: KeepInput}[l.Recompute]
		}
		r, states[i] = b.forward(l, r, q, v, what, nil)
	}
	return r.join(l), states
}

// Backward turns d, the gradient of the output, in place into the gradient of
// the input where below asks for it; else it stops at the lowest trained block.
// It releases the states.
func (s Stack) Backward(l *model.Lane, d kernels.Tensor, q Sequences, states StackState, below bool) {
	for i := len(s) - 1; i >= 0 && states[i] != nil; i-- {
		lower := below || s[:i].Trained()
		if !lower && !s[i].Trained() {
			break
		}
		s[i].Backward(l, d, q, states[i], lower)
		states[i] = nil
	}
	states.Release(l)
}

// ForwardCached is Forward without state, over a cache with a layer per block.
func (s Stack) ForwardCached(l *model.Lane, x kernels.Tensor, q Sequences, v model.Variant, c *Cache, span Span) kernels.Tensor {
	r := residual{x: x}
	for i, b := range s {
		r = b.forwardCached(l, r, q, v, c, i, span)
	}
	return r.join(l)
}
