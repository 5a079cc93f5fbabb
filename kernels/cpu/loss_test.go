//go:build cgo

package cpu

import (
	"fmt"
	"testing"

	"ressa/kernels"
)

func TestLossAgreesWithReference(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		for _, vocabulary := range []int{1, 5, 100, 1003} {
			for teachers := range 3 {
				for _, temperature := range []float32{1, 2} {
					t.Run(fmt.Sprintf("%d/%d/%v", vocabulary, teachers, temperature), func(t *testing.T) {
						w := newTwins(t, Options{Variant: variant, Threads: 2})
						const rows = 33
						wide := func(int) float64 { return 5 * w.rig.rng.NormFloat64() }
						z, dz := w.tensor(kernels.F32, rows, vocabulary, 1, wide), w.tensor(kernels.F32, rows, vocabulary, 0, nil)
						labels := w.tensor(kernels.I32, 1, rows, 0, func(i int) float64 { return float64(i%(vocabulary+1) - 1) })
						losses := w.tensor(kernels.F32, rows, 2, 0, nil)
						teacher := []pair{w.tensor(kernels.F32, rows, vocabulary, 0, wide), w.tensor(kernels.F32, rows, vocabulary, 2, wide)}
						w.run(func(s kernels.Stream, k int) {
							a := kernels.CrossEntropyKLArgs{
								Logits: z[k], Labels: labels[k], Temperature: temperature, CEScale: 0.7, KLScale: 0.9,
								DLogits: dz[k], Losses: losses[k],
							}
							for i := range teachers {
								a.Teachers = append(a.Teachers, kernels.TeacherLogits{Logits: teacher[i][k], Weight: 0.5 + float32(i)})
							}
							s.CrossEntropyKL(a)
							a.DLogits = z[k] // in place
							s.CrossEntropyKL(a)
						})
						w.agree("losses", losses, 3e-6)
						w.agree("gradient", dz, 2e-6)
						w.agree("gradient in place", z, 2e-6)
					})
				}
			}
		}
	})
}
