//go:build cgo

package cpu

import (
	"testing"

	"ressa/kernels"
)

// BenchmarkRows measures what lies between the matrix products, at the sizes of a
// small model: 128 sequences of 60 tokens, 64 and 256 columns, 100 words.
func BenchmarkRows(b *testing.B) {
	w := newTwins(b, Options{Threads: 1})
	s, rows := w.streams[0], 128*60
	f := func(rows, cols int) kernels.Tensor { return w.tensor(kernels.F32, rows, cols, 0, nil)[0] }
	x, y, dy := f(rows, 64), f(rows, 64), f(rows, 64)
	wide, wide2, wide3 := f(rows, 256), f(rows, 256), f(rows, 256)
	gamma, dgamma, dbeta, mean, rstd := f(1, 64), f(1, 64), f(1, 64), f(1, rows), f(1, rows)
	z, dz, teacher, losses := f(rows, 100), f(rows, 100), f(rows, 100), f(rows, 2)
	labels := w.tensor(kernels.I32, 1, rows, 0, func(i int) float64 { return float64(i % 100) })[0]
	table, p, cos := f(100, 64), f(60, 64), f(60, 8)
	positions := w.tensor(kernels.I32, 1, rows, 0, func(i int) float64 { return float64(i % 60) })[0]
	best := w.tensor(kernels.I32, 1, rows, 0, nil)[0]
	m, v := f(1, rows*64), f(1, rows*64)
	for _, c := range []struct {
		name string
		op   func()
	}{
		{"LayerNorm", func() { s.LayerNorm(y, x, gamma, gamma, 1e-5, mean, rstd) }},
		{"LayerNormBackward", func() { s.LayerNormBackward(y, dgamma, dbeta, dy, x, gamma, mean, rstd, false) }},
		{"LayerNormBackwardFrozen", func() {
			s.LayerNormBackward(y, kernels.Tensor{}, kernels.Tensor{}, dy, x, gamma, mean, rstd, false)
		}},
		{"RMSNorm", func() { s.RMSNorm(y, x, gamma, 1e-5, rstd) }},
		{"GELU", func() { s.Activate(wide2, wide, kernels.GELU) }},
		{"GELUBackward", func() { s.ActivateBackward(wide2, wide3, wide, kernels.GELU) }},
		{"QuickGELU", func() { s.Activate(wide2, wide, kernels.QuickGELU) }},
		{"SiLU", func() { s.Activate(wide2, wide, kernels.SiLU) }},
		{"AddRows", func() { s.AddRows(y, x, p) }},
		{"SumRowGroups", func() { s.SumRowGroups(dgamma, x) }},
		{"SumRowGroups60", func() { s.SumRowGroups(p, x) }},
		{"ScatterAddRows", func() { s.ScatterAddRows(table, x, labels) }},
		{"Rotate", func() { s.Rotate(y, 16, cos, cos, positions, false) }},
		{"ArgmaxRows", func() { s.ArgmaxRows(best, z) }},
		{"CrossEntropyKL", func() {
			s.CrossEntropyKL(kernels.CrossEntropyKLArgs{
				Logits: z, Labels: labels, Temperature: 1, CEScale: 1, KLScale: 1, DLogits: dz, Losses: losses,
				Teachers: []kernels.TeacherLogits{{Logits: teacher, Weight: 1}},
			})
		}},
		{"AdamW", func() {
			s.AdamW(kernels.AdamWArgs{
				Param: x.Reshape(1, rows*64), Grad: y.Reshape(1, rows*64), M: m, V: v,
				LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Bias1: 0.1, Bias2: 0.001, GradScale: 1,
			})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.op()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
		})
	}
}
