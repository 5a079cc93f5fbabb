package prune

import (
	"fmt"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/trainer/model"
	"ressa/trainer/random"
)

// BenchmarkSelect makes the mask of a 4096 × 4096 weight with norms as [Compute]
// does, transfers included: n:m on the device with one thread and with two,
// unstructured patterns on the host with all processors.
func BenchmarkSelect(b *testing.B) {
	const n = 4096
	r := random.New(5, 0, 0, 0)
	w, norms := make([]float32, n*n), make([]float64, n)
	for i := range w {
		w[i] = r.Normal()
	}
	for i := range norms {
		norms[i] = float64(1 + r.IntN(100))
	}
	for _, threads := range []int{1, 2} {
		d, err := cpu.Open(cpu.Options{Threads: threads})
		if err != nil {
			b.Skip(err)
		}
		s, err := d.NewStream()
		if err != nil {
			b.Fatal(err)
		}
		l := &model.Lane{Stream: s, Pool: model.NewPool(d)}
		t := l.Pool.Get(kernels.F32, n, n)
		s.Upload(t, encode(w))
		linear := &model.Linear{Weight: &model.Param{Name: "w", Shape: []int{n, n}, Value: t}}
		for _, text := range []string{"2:4", "4:8", "1:16", "unstructured:0.5"} {
			for _, g := range []Granularity{PerRow, PerMatrix} {
				o := Options{Pattern: pattern(b, text), Granularity: g}
				if o.Pattern.Structured() && g == PerMatrix || !o.Pattern.Structured() && threads < 2 {
					continue
				}
				name := fmt.Sprintf("%s/device, threads %d", text, threads)
				if !o.Pattern.Structured() {
					name = fmt.Sprintf("%s/host, by %v", text, g)
				}
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						if _, err := o.mask(b.Context(), l, linear, norms); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
		l.Pool.Close()
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	}
}
