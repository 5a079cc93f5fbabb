//go:build cgo

package cpu

import (
	"fmt"
	"testing"

	"ressa/kernels"
)

// layer is a small masked layer with its operands.
type layer struct {
	x, y, dx, dA, dB kernels.Tensor
	w                kernels.LinearWeight
}

func newLayer(r *rig, rows, out, in, rank int) layer {
	l := layer{
		x: r.tensor(kernels.F32, rows, in, 0), y: r.tensor(kernels.F32, rows, out, 0), dx: r.tensor(kernels.F32, rows, in, 0),
		dA: r.tensor(kernels.F32, rank, in, 0), dB: r.tensor(kernels.F32, out, rank, 0),
		w: kernels.LinearWeight{
			W: r.tensor(kernels.F32, out, in, 0), Mask: r.tensor(kernels.U64, out, kernels.MaskWords(in), 0),
			A: r.tensor(kernels.F32, rank, in, 0), B: r.tensor(kernels.F32, out, rank, 0), Scale: 2, Round: kernels.BF16,
		},
	}
	for _, t := range []kernels.Tensor{l.x, l.y, l.w.W, l.w.Mask, l.w.A, l.w.B} {
		r.random(t)
	}
	return l
}

// Small operations must cost little beside their arithmetic: nothing is allocated
// once scratch memory has grown.
func TestSteadyStateAllocations(t *testing.T) {
	r := newRig(t, Options{Threads: 2})
	r.dev.(*device).parallel = 0
	l := newLayer(r, 40, 64, 64, 4)
	for name, f := range map[string]func(){
		"forward": func() { r.s.LinearForward(l.y, l.x, l.w, kernels.Tensor{}) },
		"input":   func() { r.s.LinearBackwardInput(l.dx, l.y, l.w, true) },
		"adapter": func() { r.s.LinearBackwardAdapter(l.dA, l.dB, l.y, l.x, l.w) },
		"add":     func() { r.s.Add(l.x, l.x, l.dx) },
		"gemm":    func() { r.s.Gemm(kernels.GemmArgs{C: l.y, A: l.x, B: l.w.W}) },
	} {
		f()
		if n := testing.AllocsPerRun(20, f); n > 0 {
			t.Errorf("%s allocates %v times a call, want 0", name, n)
		}
	}
}

// BenchmarkCall shows what one call on a decoder's few rows costs.
func BenchmarkCall(b *testing.B) {
	for _, rows := range []int{1, 16, 64} {
		for _, width := range []int{64, 128, 1024} {
			b.Run(fmt.Sprintf("forward/%dx%dx%d", rows, width, width), func(b *testing.B) {
				r := newRig(b, Options{})
				l := newLayer(r, rows, width, width, 8)
				for b.Loop() {
					r.s.LinearForward(l.y, l.x, l.w, kernels.Tensor{})
				}
			})
		}
	}
	b.Run("add/1x64", func(b *testing.B) {
		r := newRig(b, Options{})
		x := r.tensor(kernels.F32, 1, 64, 0)
		for b.Loop() {
			r.s.Add(x, x, x)
		}
	})
}
