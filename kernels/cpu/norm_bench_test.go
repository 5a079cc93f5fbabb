//go:build cgo

package cpu

import (
	"fmt"
	"testing"

	"ressa/kernels"
)

// BenchmarkAddNorm measures the sum of two streams and its norm, in one operation
// and in two, at the sizes of SmolVLM's towers and of the demo's.
func BenchmarkAddNorm(b *testing.B) {
	w := newTwins(b, Options{Threads: 1})
	s := w.streams[0]
	for _, n := range []struct{ rows, cols int }{{1025, 768}, {2024, 576}, {640, 48}} {
		f := func(rows, cols int) kernels.Tensor { return w.tensor(kernels.F32, rows, cols, 0, nil)[0] }
		x, r, h, y := f(n.rows, n.cols), f(n.rows, n.cols), f(n.rows, n.cols), f(n.rows, n.cols)
		gamma, mean, rstd := f(1, n.cols), f(1, n.rows), f(1, n.rows)
		for _, c := range []struct {
			name  string
			bytes int // a row and column that have to move
			op    func()
		}{
			{"layer/apart", 4 * 5, func() { s.Add(h, x, r); s.LayerNorm(y, h, gamma, gamma, 1e-5, mean, rstd) }},
			{"layer/fused", 4 * 4, func() { s.AddLayerNorm(y, h, x, r, gamma, gamma, 1e-5, mean, rstd) }},
			{"rms/apart", 4 * 5, func() { s.Add(h, x, r); s.RMSNorm(y, h, gamma, 1e-5, rstd) }},
			{"rms/fused", 4 * 4, func() { s.AddRMSNorm(y, h, x, r, gamma, 1e-5, rstd) }},
		} {
			b.Run(fmt.Sprintf("%dx%d/%s", n.rows, n.cols, c.name), func(b *testing.B) {
				b.SetBytes(int64(c.bytes * n.rows * n.cols))
				for b.Loop() {
					c.op()
				}
			})
		}
	}
}
