package prune

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/sparse"
	"ressa/trainer/model"
	"ressa/trainer/random"
)

// onHost makes an n:m mask from a weight on the host, rows shared out to all
// processors: what the device's is measured beside.
func onHost(w []float32, rows, cols int, norms []float64, p sparse.Pattern) sparse.Mask {
	mask, workers := sparse.NewOnes(rows, cols), runtime.GOMAXPROCS(0)
	var group errgroup.Group
	for k := range workers {
		group.Go(func() error {
			scores := make([]float64, cols)
			for r := rows * k / workers; r < rows*(k+1)/workers; r++ {
				score(scores, w[r*cols:(r+1)*cols], norms)
				for c := 0; c < cols; c += p.M {
					var dropped uint64
					for range p.M - p.N {
						least := -1
						for i, s := range scores[c : c+p.M] {
							if dropped>>i&1 == 0 && (least < 0 || s < scores[c+least]) {
								least = i
							}
						}
						dropped |= 1 << least
						mask.Set(r, c+least, false)
					}
				}
			}
			return nil
		})
	}
	_ = group.Wait() // no row fails
	return mask
}

// measured also tells the processor time of all threads, which other work on the
// machine shows in less.
func measured(b *testing.B, name string, f func(b *testing.B)) {
	b.Run(name, func(b *testing.B) {
		clock := func() (at unix.Timespec) {
			if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &at); err != nil {
				b.Fatal(err)
			}
			return at
		}
		from := clock()
		for b.Loop() {
			f(b)
		}
		to := clock()
		b.ReportMetric(float64(to.Nano()-from.Nano())/1e6/float64(b.N), "cpu-ms/op")
	})
}

// BenchmarkSelect makes the mask of a 4096 × 4096 weight with norms as [Compute]
// does, transfers included: n:m on the device with one thread and with two, and from
// the same weight on the host; unstructured patterns on the host. The host has all
// processors.
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
				measured(b, name, func(b *testing.B) {
					if _, err := o.mask(b.Context(), l, linear, norms); err != nil {
						b.Fatal(err)
					}
				})
			}
		}
		for _, text := range []string{"2:4", "4:8", "1:16"} {
			p := pattern(b, text)
			if threads < 2 {
				continue
			}
			if got, err := selectGroups(b.Context(), l, t, norms, p); err != nil || !got.Equal(onHost(w, n, n, norms, p)) {
				b.Fatalf("%s: host and device make different masks (%v)", text, err)
			}
			measured(b, text+"/host", func(b *testing.B) {
				v, err := weights(b.Context(), l, t)
				if err != nil {
					b.Fatal(err)
				}
				onHost(v, n, n, norms, p)
			})
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
