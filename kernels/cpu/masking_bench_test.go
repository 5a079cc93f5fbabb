//go:build cgo

package cpu

import (
	"fmt"
	"testing"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// BenchmarkKept packs and unpacks half of a 4096 × 4096 gradient, and copies as much
// as a measure: bytes are those of the matrix.
func BenchmarkKept(b *testing.B) {
	const n = 4096
	mask := sparse.New(n, n)
	for i := range mask.Words {
		mask.Words[i] = 0x5a3c_9669_c35a_a5f0 * (2*uint64(i) + 1)
	}
	for _, variant := range Variants() {
		r := newRig(b, Options{Variant: variant, Threads: 1})
		t, err := mask.Upload(r.dev, r.s)
		if err != nil {
			b.Fatal(err)
		}
		var dense, copied, packed kernels.Tensor
		for _, o := range []struct {
			t          *kernels.Tensor
			rows, cols int
		}{{&dense, n, n}, {&copied, n, n}, {&packed, 1, mask.Count()}} {
			buffer, err := r.dev.Alloc(4 * o.rows * o.cols)
			if err != nil {
				b.Fatal(err)
			}
			*o.t = kernels.NewTensor(buffer, kernels.F32, o.rows, o.cols)
			r.s.Fill(*o.t, 1)
		}
		for _, c := range []struct {
			name string
			op   func()
		}{
			{"pack", func() { r.s.PackKept(packed, dense, t) }},
			{"unpack", func() { r.s.UnpackKept(dense, packed, t) }},
			{"copy", func() { r.s.Convert(copied, dense) }},
		} {
			b.Run(fmt.Sprintf("%s/%s", variant, c.name), func(b *testing.B) {
				b.SetBytes(4 * n * n)
				for b.Loop() {
					c.op()
				}
			})
		}
		if err := r.s.Synchronize(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
