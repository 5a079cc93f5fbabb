package bench

import (
	"context"
	"errors"
	"testing"
	"time"

	"ressa/kernels/cpu"
	"ressa/kernels/sparse"
)

// quick measures each group once.
func quick(t *testing.T, groups []Group) *Report {
	t.Helper()
	if d, err := cpu.Open(cpu.Options{}); err != nil {
		t.Skip(err)
	} else if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Options{Turns: 1, Turn: time.Microsecond, Threads: 1}, groups)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryRowIsMeasured(t *testing.T) {
	patterns := []sparse.Pattern{{N: 2, M: 4}, {Ratio: 0.7}}
	groups := append(Gemms(Products(20, 24, 70)), Layers(patterns, []int{5}, []int{64}, []int{3})...)
	groups = append(groups, norms(5, 40), loss(3, 50), adamw(4, 20), activations(3, 30))
	r := quick(t, groups)
	if r.Kind == "" || !(r.Floor.GFLOPS > 0) || !(r.Floor.GBps > 0) || !(r.Floor.Cache > 0) {
		t.Errorf("kind %q, floor %+v: want all of it measured", r.Kind, r.Floor)
	}
	count := map[string]int{}
	for _, x := range r.Rows {
		count[x.Suite]++
		if !(x.Seconds.Median > 0) || !(x.GFLOPS > 0) || !(x.GBps > 0) || !(x.Share > 0) {
			t.Errorf("%+v: want rates", x)
		}
		if compared := r.Core != "" && x.Suite != "ops"; compared != (x.Theirs != nil && x.Ratio.Median > 0) {
			t.Errorf("%+v: compared %v", x, !compared)
		}
	}
	if count["gemm"] != 3 || count["layer"] != 8 || count["ops"] != 10 {
		t.Errorf("rows %v, want 3 products, 8 parts of layers, 10 others", count)
	}
}

// The flops that a mask leaves, and no others, count.
func TestAMaskLeavesItsShareOfTheFlops(t *testing.T) {
	r := quick(t, Layers([]sparse.Pattern{{N: 2, M: 4}, {Ratio: 0.75}}, []int{8}, []int{64}, []int{2}))
	half, quarter := r.Rows[0], r.Rows[4]
	if want := 2.0 * (8 + 2) * 64 * 64 / 2; half.Op != "forward" || half.Flops != want {
		t.Errorf("%s at 2:4 counts %v flops, want %v", half.Op, half.Flops, want)
	}
	if quarter.Op != "forward" || quarter.Flops != half.Flops/2 {
		t.Errorf("%s at 75 %% counts %v flops, want %v", quarter.Op, quarter.Flops, half.Flops/2)
	}
}

func TestImpossibleGroupsAreRefused(t *testing.T) {
	quick(t, nil)
	for _, g := range append(Gemms([]Shape{{GemmNT, 0, 1, 1}}), Layers([]sparse.Pattern{{N: 2, M: 4}}, []int{1}, []int{6}, []int{1})...) {
		if _, err := Run(t.Context(), Options{Turns: 1}, []Group{g}); err == nil {
			t.Errorf("%s was measured, want an error", g.Name)
		}
	}
}

func TestACancelledRunEnds(t *testing.T) {
	quick(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Options{}, Gemms(Cube())); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run gave %v", err)
	}
}

func TestSpread(t *testing.T) {
	if got, want := SpreadOf([]float64{4, 1, 3, 2, 5}), (Spread{Median: 3, Q1: 2, Q3: 4, Min: 1, Max: 5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := SpreadOf([]float64{1, 2}), (Spread{Median: 1.5, Q1: 1.25, Q3: 1.75, Min: 1, Max: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// BenchmarkGemm reports both sides of every shape from one run; its own time per
// operation means nothing.
func BenchmarkGemm(b *testing.B) {
	for _, s := range append(Demo(), Large()...) {
		b.Run(s.String(), func(b *testing.B) {
			var r *Report
			for range b.N {
				var err error
				if r, err = Run(context.Background(), Options{}, Gemms([]Shape{s})); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(r.Rows[0].GFLOPS, "GFLOP/s")
			if r.Rows[0].Ratio != nil {
				b.ReportMetric(r.Rows[0].Ratio.Median, "ratio")
			}
		})
	}
}
