//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"unsafe"

	"ressa/kernels"
)

// weight returns what C sees of w, which was checked.
func (s *stream) weight(op string, w kernels.LinearWeight) C.struct_rk_weight {
	out, in := w.Out(), w.In()
	var values, offsets C.struct_rk_mat
	if w.IsPacked() {
		values = s.mat(op, "packed values", w.Packed.Values, 1, -1, f32|bf16)
		values.rows, values.cols = C.int64_t(out), C.int64_t(in)
		offsets = s.mat(op, "packed offsets", w.Packed.Offsets, kernels.MaskWords(out), kernels.MaskWords(in), i32)
	} else {
		values = s.mat(op, "W", w.W, out, in, f32|bf16)
	}
	return C.struct_rk_weight{
		w: values, offsets: offsets,
		mask:  s.optional(op, "mask", w.Mask, out, kernels.MaskWords(in), u64),
		a:     s.optional(op, "A", w.A, -1, in, f32),
		b:     s.optional(op, "B", w.B, out, -1, f32),
		scale: C.float(w.Scale),
		round: C.int32_t(w.Round),
	}
}

// LinearForward writes y = x·W_effᵀ + bias.
func (s *stream) LinearForward(y, x kernels.Tensor, w kernels.LinearWeight, bias kernels.Tensor) {
	const op = "linear forward"
	s.fail(kernels.CheckLinearForward(y, x, w, bias))
	rows, in, out := x.Rows, w.In(), w.Out()
	if goesSparse(w, rows) {
		a := arguments[C.struct_rk_sparse](s)
		a.w = s.weight(op, w)
		a.y = s.mat(op, "y", y, rows, out, f32)
		a.x = s.mat(op, "x", x, rows, in, f32)
		s.multiplySparse(a, rows, out, in, false, false, s.biasFloats(op, bias, out))
		return
	}
	a := arguments[C.struct_rk_gemm](s)
	a.b = s.weight(op, w)
	a.c = s.mat(op, "y", y, rows, out, f32)
	a.a = s.mat(op, "x", x, rows, in, f32)
	a.b_by_n = 1
	s.multiply(a, rows, out, in, false, s.biasFloats(op, bias, out))
}

// biasFloats returns a bias as floats that may be read a little past their end.
func (s *stream) biasFloats(op string, bias kernels.Tensor, n int) unsafe.Pointer {
	m := s.optional(op, "bias", bias, 1, n, f32|bf16)
	if m.data == nil || m.dtype == C.RK_F32 {
		return m.data
	}
	mem, err := s.bias.atLeast(4 * n)
	if err != nil {
		s.fail(err)
		return nil
	}
	narrow, wide := unsafe.Slice((*uint16)(m.data), n), unsafe.Slice((*uint32)(mem), n)
	for i, h := range narrow {
		wide[i] = uint32(h) << 16
	}
	return mem
}

// LinearBackwardInput writes dx = dy·W_eff, or adds it.
func (s *stream) LinearBackwardInput(dx, dy kernels.Tensor, w kernels.LinearWeight, accumulate bool) {
	const op = "linear backward input"
	s.fail(kernels.CheckLinearBackwardInput(dx, dy, w))
	rows, in, out := dy.Rows, w.In(), w.Out()
	if goesSparse(w, rows) {
		a := arguments[C.struct_rk_sparse](s)
		a.w = s.weight(op, w)
		a.y = s.mat(op, "dx", dx, rows, in, f32)
		a.x = s.mat(op, "dy", dy, rows, out, f32)
		s.multiplySparse(a, rows, in, out, true, accumulate, nil)
		return
	}
	a := arguments[C.struct_rk_gemm](s)
	a.b = s.weight(op, w)
	a.c = s.mat(op, "dx", dx, rows, in, f32)
	a.a = s.mat(op, "dy", dy, rows, out, f32)
	s.multiply(a, rows, in, out, accumulate, nil)
}

// LinearBackwardAdapter writes dB = G·Aᵀ and dA = Bᵀ·G with G = Scale·M ⊙ (dyᵀ·x).
// Each tile of G is masked and folded into partial dB and dA while it is in the
// cache; the partials are then summed in index order.
func (s *stream) LinearBackwardAdapter(dA, dB, dy, x kernels.Tensor, w kernels.LinearWeight) {
	const op = "linear backward adapter"
	s.fail(kernels.CheckLinearBackwardAdapter(dA, dB, dy, x, w))
	rows, in, out, r := x.Rows, w.In(), w.Out(), w.A.Rows
	if s.err == nil && goesSparse(w, rows) {
		s.adapterSparse(op, dA, dB, dy, x, w)
		return
	}
	a := arguments[C.struct_rk_outer](s)
	a.a = s.mat(op, "dy", dy, rows, out, f32)
	a.b = s.mat(op, "x", x, rows, in, f32)
	lw := s.weight(op, w)
	a.mask, a.lora_a, a.lora_b, a.scale, a.fold = lw.mask, lw.a, lw.b, lw.scale, 1
	da := s.mat(op, "dA", dA, r, in, f32)
	db := s.mat(op, "dB", dB, out, r, f32)
	if s.err != nil || r == 0 {
		return
	}
	if rows == 0 || in == 0 || out == 0 {
		s.Fill(dA, 0)
		s.Fill(dB, 0)
		return
	}
	p := planOuter(rows, out, in)
	scratch := p.fill(a, rows, out, in, r)
	forB, forA := p.splits*p.across*out*r, p.splits*p.down*r*in
	mem := s.shared(4 * (forB + forA))
	partB := (*C.float)(mem)
	partA := (*C.float)(unsafe.Add(mem, 4*forB))
	a.db, a.da = partB, partA
	s.run(s.table.outer, p.tasks(), scratch, rows*out*in/mulAddsPerUnit)
	s.reduce(db, partB, p.splits*p.across, false)
	s.reduce(da, partA, p.splits*p.down, false)
}

// LinearBackwardWeight writes dW = M ⊙ (dyᵀ·x).
func (s *stream) LinearBackwardWeight(dW, dy, x, mask kernels.Tensor) {
	s.fail(kernels.CheckLinearBackwardWeight(dW, dy, x, mask))
	s.weightGradient("linear backward weight", dW, dy, x, mask, false)
}

// EffectiveWeight writes W_eff into dst, F32 or w.Round.
func (s *stream) EffectiveWeight(dst kernels.Tensor, w kernels.LinearWeight) {
	const op = "effective weight"
	s.fail(kernels.CheckEffectiveWeight(dst, w))
	out, in := w.Out(), w.In()
	a := arguments[C.struct_rk_effective](s)
	a.w = s.weight(op, w)
	a.dst = s.mat(op, "dst", dst, out, in, f32|1<<w.Round)
	if s.err != nil || in == 0 {
		return
	}
	s.run(s.table.effective_weight, (out+15)/16, 4*(16*maskWord+tilePadding), out*in*(1+w.A.Rows)/mulAddsPerUnit)
}
