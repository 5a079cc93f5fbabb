//go:build cgo && linux

package cuda

import (
	"slices"
	"testing"

	"ressa/kernels"
)

// asBF16 returns a tensor as the bfloat16 nearest to each element, in float32.
func (r *layerRig) asBF16(t kernels.Tensor) kernels.Tensor {
	x, to := r.read(t), r.empty(t.Rows, t.Cols)
	for i, v := range x {
		x[i] = kernels.RoundTo(kernels.BF16, v)
	}
	r.stream.Upload(to, kernels.EncodeF32(x))
	return to
}

// Operands are rounded once, before anything is multiplied, whatever their dtype in
// memory; the sums are not.
func TestProductsRoundTheirOperandsOnce(t *testing.T) {
	r, _ := layerRigOn(t, rounding(onDevice(t)))
	same := func(name string, rows, cols int, of func(dst kernels.Tensor), as func(dst kernels.Tensor)) {
		t.Helper()
		got, want := r.empty(rows, cols), r.empty(rows, cols)
		of(got)
		as(want)
		if g, w := r.read(got), r.read(want); !slices.Equal(g, w) {
			t.Errorf("%s: the product of operands is not that of rounded ones", name)
		} else if slices.Equal(g, r.read(r.asBF16(got))) {
			t.Errorf("%s: the sums have been rounded too", name)
		}
	}
	const tokens, in, out, rank = 70, 130, 67, 5
	x, dy := r.random(tokens, in), r.random(tokens, out)
	x16, dy16 := r.asBF16(x), r.asBF16(dy)
	if slices.Equal(r.read(x), r.read(x16)) {
		t.Fatal("rounding changes nothing, so this test would find nothing")
	}
	short := kernels.Tensor{}
	for form, operands := range map[kernels.GemmForm][2]kernels.Tensor{kernels.NT: {r.random(33, in), x}, kernels.NN: {dy, r.random(out, 40)}, kernels.TN: {dy, x}} {
		a, b := operands[0], operands[1]
		a16, b16 := r.asBF16(a), r.asBF16(b)
		short = r.empty(b.Rows, b.Cols)
		short.DType = kernels.BF16
		r.stream.Convert(short, b)
		rows, cols := a.Rows, b.Rows
		switch form {
		case kernels.NN:
			cols = b.Cols
		case kernels.TN:
			rows, cols = a.Cols, b.Cols
		}
		gemm := func(a, b kernels.Tensor) func(kernels.Tensor) {
			return func(c kernels.Tensor) { r.stream.Gemm(kernels.GemmArgs{C: c, A: a, B: b, Form: form}) }
		}
		same("gemm", rows, cols, gemm(a, b), gemm(a16, b16))
		same("gemm with bf16", rows, cols, gemm(a, b), gemm(a, short))
	}
	for _, round := range []kernels.DType{kernels.F32, kernels.BF16} {
		w := r.weight(out, in, rank, round)
		effective := r.empty(out, in)
		r.stream.EffectiveWeight(effective, w)
		if exact := !slices.Equal(r.read(effective), r.read(r.asBF16(effective))); exact != (round == kernels.F32) {
			t.Errorf("%v: the weight that is exported is rounded otherwise", round)
		}
		dense := kernels.LinearWeight{W: r.asBF16(effective)}
		forward := func(x kernels.Tensor, w kernels.LinearWeight) func(kernels.Tensor) {
			return func(y kernels.Tensor) { r.stream.LinearForward(y, x, w, kernels.Tensor{}) }
		}
		same("forward", tokens, out, forward(x, w), forward(x16, dense))
		backward := func(dy kernels.Tensor, w kernels.LinearWeight) func(kernels.Tensor) {
			return func(dx kernels.Tensor) { r.stream.LinearBackwardInput(dx, dy, w, false) }
		}
		same("backward input", tokens, in, backward(dy, w), backward(dy16, dense))
		adapter := func(dy, x kernels.Tensor, b bool) func(kernels.Tensor) {
			return func(g kernels.Tensor) {
				dA, dB := g, r.empty(out, rank)
				if b {
					dA, dB = r.empty(rank, in), g
				}
				r.stream.LinearBackwardAdapter(dA, dB, dy, x, w)
			}
		}
		same("dA", rank, in, adapter(dy, x, false), adapter(dy16, x16, false))
		same("dB", out, rank, adapter(dy, x, true), adapter(dy16, x16, true))
		weight := func(dy, x kernels.Tensor) func(kernels.Tensor) {
			return func(dW kernels.Tensor) { r.stream.LinearBackwardWeight(dW, dy, x, w.Mask) }
		}
		same("backward weight", out, in, weight(dy, x), weight(dy16, x16))
	}
}
