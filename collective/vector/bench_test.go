package vector

import (
	"math/rand/v2"
	"testing"
)

// Bytes count what is read and written.
func BenchmarkVector(b *testing.B) {
	const n = 64 << 10
	r := rand.New(rand.NewPCG(1, 2))
	x, y, z, h := make([]float32, n), make([]float32, n), make([]float32, n), make([]uint16, n)
	for i := range x {
		x[i], y[i] = r.Float32(), r.Float32()
	}
	words, kept := randomWords(r, n)
	for _, c := range []struct {
		name  string
		bytes int
		run   func()
	}{
		{"add", 12 * n, func() { Add(z, x, y) }},
		{"add rounded", 12 * n, func() { AddRounded(z, x, y) }},
		{"to bf16", 6 * n, func() { ToBF16(h, x) }},
		{"from bf16", 6 * n, func() { FromBF16(z, h) }},
		{"pack", 4 * (n + kept), func() { Pack(z[:kept], x, words) }},
		{"unpack", 4 * (n + kept), func() { Unpack(z, x[:kept], words) }},
		{"copy", 8 * n, func() { copy(z, x) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(c.bytes))
			for b.Loop() {
				c.run()
			}
		})
	}
}
