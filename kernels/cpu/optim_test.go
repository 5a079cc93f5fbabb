//go:build cgo

package cpu

import (
	"bytes"
	"fmt"
	"testing"

	"ressa/kernels"
)

// AdamW rounds every product and sum by itself, so that it gives the bits of the reference.
func TestAdamWGivesTheBitsOfTheReference(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		for _, cols := range []int{1, 7, 64, 130, 40000} {
			for _, masked := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d/%v", cols, masked), func(t *testing.T) {
					w := newTwins(t, Options{Variant: variant, Threads: 2})
					f := func() pair { return w.tensor(kernels.F32, 5, cols, 0, nil) }
					positive := func(int) float64 { return w.rig.rng.Float64() }
					p, g, m, v := f(), f(), f(), w.tensor(kernels.F32, 5, cols, 1, positive)
					var mask pair
					if masked {
						mask = w.tensor(kernels.U64, 5, kernels.MaskWords(cols), 0, nil)
					}
					w.run(func(s kernels.Stream, k int) {
						s.AdamW(kernels.AdamWArgs{
							Param: p[k], Grad: g[k], M: m[k], V: v[k], Mask: mask[k], LR: 1e-3, WeightDecay: 0.1,
							Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Bias1: 0.1, Bias2: 0.001, GradScale: 0.37,
						})
					})
					for _, x := range []pair{p, m, v} {
						if !bytes.Equal(w.bytes(x, 0), w.bytes(x, 1)) {
							t.Error("not the bits of the reference")
						}
					}
				})
			}
		}
	})
}

func TestSumsOfSquaresAgreeWithReference(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		w := newTwins(t, Options{Variant: variant, Threads: 3})
		x, dst := w.tensor(kernels.F32, 1, 200000, 0, nil), w.tensor(kernels.F64, 1, 5, 0, func(int) float64 { return 0 })
		y, sums := w.tensor(kernels.F32, 300, 71, 3, nil), w.tensor(kernels.F64, 1, 71, 0, func(int) float64 { return 0 })
		w.run(func(s kernels.Stream, k int) {
			s.SegmentSumSquares(dst[k], x[k], []int{3, 3, 4, 30, 99999, 200000})
			s.ColumnSumSquares(sums[k], y[k])
		})
		w.agree("segments", dst, 1e-13)
		w.agree("columns", sums, 0)
	})
}
