//go:build cgo

package dense

import (
	"ressa/kernels"
	"ressa/kernels/cpu/openblas"
)

// matrix is what OpenBLAS sees of an F32 tensor.
func (s *stream) matrix(t kernels.Tensor) openblas.Matrix {
	return openblas.Matrix{Data: s.at(t), Stride: max(1, t.Stride, t.Cols)}
}

// wide returns t, or its numbers in scratch where it is BF16, and what gives the
// scratch back.
func (s *stream) wide(t kernels.Tensor) (kernels.Tensor, func(), bool) {
	if t.DType == kernels.F32 {
		return t, func() {}, true
	}
	w, ok := s.scratch(t.Rows, t.Cols)
	if !ok {
		return t, nil, false
	}
	s.Convert(w, t)
	return w, func() { s.put(w) }, true
}

// Gemm writes or accumulates C = op(A)·op(B).
func (s *stream) Gemm(g kernels.GemmArgs) {
	m, n, k, err := g.Dims()
	if err != nil || m == 0 || n == 0 || k == 0 || !s.ready(g.C, g.A, g.B) {
		s.Stream.Gemm(g)
		return
	}
	a, putA, ok := s.wide(g.A)
	if !ok {
		return
	}
	defer putA()
	b, putB, ok := s.wide(g.B)
	if !ok {
		return
	}
	defer putB()
	s.product(g.Form, m, n, k, a, b, g.Accumulate, g.C)
}

func (s *stream) product(form kernels.GemmForm, m, n, k int, a, b kernels.Tensor, accumulate bool, c kernels.Tensor) {
	beta := float32(0)
	if accumulate {
		beta = 1
	}
	s.device.library.Sgemm(form == kernels.TN, form == kernels.NT, m, n, k, s.matrix(a), s.matrix(b), beta, s.matrix(c))
}

// plain reports whether W is W_eff as it stands.
func plain(w kernels.LinearWeight) bool {
	return w.A.IsZero() && w.Mask.IsZero() && w.W.DType == kernels.F32 && w.Round == kernels.F32
}

// materialise writes W_eff to t, F32.
func (s *stream) materialise(t kernels.Tensor, w kernels.LinearWeight) {
	if !w.A.IsZero() {
		s.product(kernels.NN, t.Rows, t.Cols, w.A.Rows, w.B, w.A, false, t)
	}
	s.effective(t, w)
}

// weight returns W_eff: the one that forward kept, else a new one.
func (s *stream) weight(w kernels.LinearWeight) (t kernels.Tensor, ok bool) {
	if plain(w) {
		return w.W, true
	}
	if t, ok = s.kept[keyOf(w)]; ok {
		delete(s.kept, keyOf(w))
		return t, true
	}
	if t, ok = s.scratch(w.W.Rows, w.W.Cols); ok {
		s.materialise(t, w)
	}
	return t, ok
}

func (s *stream) done(t kernels.Tensor, w kernels.LinearWeight) {
	if !plain(w) {
		s.put(t)
	}
}

// left reports whether the embedded stream computes instead: with nothing, and with
// packed weights, which the published form has not.
func left(w kernels.LinearWeight, rows int) bool {
	return w.IsPacked() || rows == 0 || w.W.Rows == 0 || w.W.Cols == 0 || !w.A.IsZero() && w.A.Rows == 0
}

// LinearForward writes y = x·W_effᵀ + bias and keeps W_eff where there is an
// adapter to train.
func (s *stream) LinearForward(y, x kernels.Tensor, w kernels.LinearWeight, bias kernels.Tensor) {
	if kernels.CheckLinearForward(y, x, w, bias) != nil || left(w, x.Rows) || !s.ready(y, x, w.W, w.Mask, w.A, w.B, bias) {
		s.Stream.LinearForward(y, x, w, bias)
		return
	}
	if old, ok := s.kept[keyOf(w)]; ok { // of a forward that had no backward
		delete(s.kept, keyOf(w))
		s.put(old)
	}
	t, ok := s.weight(w)
	if !ok {
		return
	}
	s.product(kernels.NT, y.Rows, y.Cols, x.Cols, x, t, false, y)
	if !bias.IsZero() {
		s.AddRows(y, y, bias)
	}
	if w.A.IsZero() {
		s.done(t, w)
	} else {
		s.kept[keyOf(w)] = t
	}
}

// LinearBackwardInput writes dx = dy·W_eff, or adds it.
func (s *stream) LinearBackwardInput(dx, dy kernels.Tensor, w kernels.LinearWeight, accumulate bool) {
	if kernels.CheckLinearBackwardInput(dx, dy, w) != nil || left(w, dy.Rows) || !s.ready(dx, dy, w.W, w.Mask, w.A, w.B) {
		s.Stream.LinearBackwardInput(dx, dy, w, accumulate)
		return
	}
	t, ok := s.weight(w)
	if !ok {
		return
	}
	s.product(kernels.NN, dx.Rows, dx.Cols, dy.Cols, dy, t, accumulate, dx)
	s.done(t, w)
}

// LinearBackwardAdapter writes G = Scale·M ⊙ (dyᵀ·x) whole, then dB = G·Aᵀ and dA = Bᵀ·G.
func (s *stream) LinearBackwardAdapter(dA, dB, dy, x kernels.Tensor, w kernels.LinearWeight) {
	if kernels.CheckLinearBackwardAdapter(dA, dB, dy, x, w) != nil || left(w, x.Rows) || !s.ready(dA, dB, dy, x, w.W, w.Mask, w.A, w.B) {
		s.Stream.LinearBackwardAdapter(dA, dB, dy, x, w)
		return
	}
	out, in, r := w.W.Rows, w.W.Cols, w.A.Rows
	g, ok := s.scratch(out, in)
	if !ok {
		return
	}
	s.product(kernels.TN, out, in, x.Rows, dy, x, false, g)
	s.gradient(g, w.Mask, w.Scale)
	s.product(kernels.NT, out, r, in, g, w.A, false, dB)
	s.product(kernels.TN, r, in, out, w.B, g, false, dA)
	s.put(g)
}

// LinearBackwardWeight writes dW = M ⊙ (dyᵀ·x).
func (s *stream) LinearBackwardWeight(dW, dy, x, mask kernels.Tensor) {
	if kernels.CheckLinearBackwardWeight(dW, dy, x, mask) != nil || dW.Len() == 0 || x.Rows == 0 || !s.ready(dW, dy, x, mask) {
		s.Stream.LinearBackwardWeight(dW, dy, x, mask)
		return
	}
	s.product(kernels.TN, dW.Rows, dW.Cols, x.Rows, dy, x, false, dW)
	if !mask.IsZero() {
		s.gradient(dW, mask, 1)
	}
}

// EffectiveWeight writes W_eff into dst, F32 or w.Round.
func (s *stream) EffectiveWeight(dst kernels.Tensor, w kernels.LinearWeight) {
	if kernels.CheckEffectiveWeight(dst, w) != nil || left(w, 1) || !s.ready(dst, w.W, w.Mask, w.A, w.B) {
		s.Stream.EffectiveWeight(dst, w)
		return
	}
	if dst.DType == kernels.F32 {
		s.materialise(dst, w)
		return
	}
	if t, ok := s.scratch(dst.Rows, dst.Cols); ok {
		s.materialise(t, w)
		s.Convert(dst, t)
		s.put(t)
	}
}
