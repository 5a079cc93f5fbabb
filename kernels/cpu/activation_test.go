//go:build cgo

package cpu

import (
	"fmt"
	"testing"

	"ressa/kernels"
)

// Widths on and off the vectors of every variant.
var widths = []int{1, 7, 16, 64, 100, 259}

func TestActivationsAgreeWithReference(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		for f := kernels.GELU; f <= kernels.ReLU; f++ {
			for i, cols := range widths {
				t.Run(fmt.Sprintf("%d/%d", f, cols), func(t *testing.T) {
					w := newTwins(t, Options{Variant: variant, Threads: 2})
					pad := 3 * (i % 2)
					wide := func(int) float64 { return 4 * w.rig.rng.NormFloat64() }
					x, dy := w.tensor(kernels.F32, 9, cols, pad, wide), w.tensor(kernels.F32, 9, cols, pad, nil)
					up := w.tensor(kernels.F32, 9, cols, 0, nil)
					out := make([]pair, 5)
					for k := range out {
						out[k] = w.tensor(kernels.F32, 9, cols, pad, nil)
					}
					w.run(func(s kernels.Stream, k int) {
						s.Activate(out[0][k], x[k], f)
						s.ActivateBackward(out[1][k], dy[k], x[k], f)
						s.Gate(out[2][k], x[k], up[k], f)
						s.GateBackward(out[3][k], out[4][k], dy[k], x[k], up[k], f)
						s.Activate(x[k], x[k], f)
						s.ActivateBackward(dy[k], dy[k], up[k], f)
					})
					for k, p := range append(out, x, dy) {
						w.agree(fmt.Sprint("result ", k), p, 1e-6)
					}
				})
			}
		}
	})
}
