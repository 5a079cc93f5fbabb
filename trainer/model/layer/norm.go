package layer

import (
	"ressa/kernels"
	"ressa/trainer/model"
)

// Norm is a layer norm, or an RMS norm where Beta is nil. T = rows, C = channels.
type Norm struct {
	Gamma, Beta *model.Param // (1, C)
	Eps         float32
}

// stats are what a norm's backward needs beside its input: F32 (1, T). An RMS
// norm has no mean.
type stats struct {
	mean, rstd kernels.Tensor
}

func (s stats) free(l *model.Lane) { l.Free(s.mean, s.rstd) }

// Trained reports whether the norm's own parameters are trained.
func (n *Norm) Trained() bool { return Trained(n.Gamma) || Trained(n.Beta) }

// Forward writes y = norm(x), both (T, C), and frees its statistics.
func (n *Norm) Forward(l *model.Lane, y, x kernels.Tensor, v model.Variant) {
	n.forward(l, y, x, v).free(l)
}

// forward writes y and returns the statistics.
func (n *Norm) forward(l *model.Lane, y, x kernels.Tensor, v model.Variant) stats {
	s := stats{rstd: l.Scratch(1, x.Rows)}
	if n.Beta == nil {
		l.Stream.RMSNorm(y, x, n.Gamma.In(l, v), n.Eps, s.rstd)
		return s
	}
	s.mean = l.Scratch(1, x.Rows)
	l.Stream.LayerNorm(y, x, n.Gamma.In(l, v), n.Beta.In(l, v), n.Eps, s.mean, s.rstd)
	return s
}

// forwardSum writes h = x + r and y = norm(h), and returns the statistics. h may be
// x or r.
func (n *Norm) forwardSum(l *model.Lane, y, h, x, r kernels.Tensor, v model.Variant) stats {
	s := stats{rstd: l.Scratch(1, x.Rows)}
	if n.Beta == nil {
		l.Stream.AddRMSNorm(y, h, x, r, n.Gamma.In(l, v), n.Eps, s.rstd)
		return s
	}
	s.mean = l.Scratch(1, x.Rows)
	l.Stream.AddLayerNorm(y, h, x, r, n.Gamma.In(l, v), n.Beta.In(l, v), n.Eps, s.mean, s.rstd)
	return s
}

// backward writes dx (T, C), or adds to it, and the gradients of gamma and beta.
func (n *Norm) backward(l *model.Lane, dx, dy, x kernels.Tensor, s stats, accumulate bool) {
	gamma, dgamma := n.Gamma.In(l, model.Student), gradient(l, n.Gamma)
	if n.Beta == nil {
		l.Stream.RMSNormBackward(dx, dgamma, dy, x, gamma, s.rstd, accumulate)
		return
	}
	l.Stream.LayerNormBackward(dx, dgamma, gradient(l, n.Beta), dy, x, gamma, s.mean, s.rstd, accumulate)
}

// NormState is what [Norm.ForwardKeep] keeps: the input and its statistics.
type NormState struct {
	x     kernels.Tensor
	stats stats
}

// ForwardKeep writes y = norm(x) for the student, takes over x and keeps it.
func (n *Norm) ForwardKeep(l *model.Lane, y, x kernels.Tensor, v model.Variant) *NormState {
	return &NormState{x: x, stats: n.forward(l, y, x, v)}
}

// Backward writes dx (T, C) and the gradients of gamma and beta, and releases s.
func (n *Norm) Backward(l *model.Lane, dx, dy kernels.Tensor, s *NormState) {
	n.backward(l, dx, dy, s.x, s.stats, false)
	s.Release(l)
}

// Release frees what is kept.
func (s *NormState) Release(l *model.Lane) {
	l.Free(s.x)
	s.stats.free(l)
	*s = NormState{}
}
