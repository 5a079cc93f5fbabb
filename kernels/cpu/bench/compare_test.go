package bench

import (
	"context"
	"testing"
	"time"

	"ressa/kernels/cpu"
)

func TestCompareMeasuresEveryOperation(t *testing.T) {
	if _, err := cpu.Open(cpu.Options{}); err != nil {
		t.Skip(err)
	}
	shapes := every(Shape{Rows: 20, Out: 24, In: 70}, 3)
	rows, err := Compare(context.Background(), Options{Turns: 1, Turn: time.Microsecond, Threads: 1}, shapes)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		if r.Shape != shapes[i] || !(r.Ours > 0) || r.Kind == "" {
			t.Errorf("row %d is %+v, want a measurement of %v", i, r, shapes[i])
		}
		if r.Core != "" && (!(r.OpenBLAS > 0) || !(r.Ratio > 0)) {
			t.Errorf("row %d is %+v, want OpenBLAS measured on %s", i, r, r.Core)
		}
	}
}

func TestCompareRejectsImpossibleShapes(t *testing.T) {
	if _, err := cpu.Open(cpu.Options{}); err != nil {
		t.Skip(err)
	}
	for _, s := range []Shape{{Op: GemmNT, Rows: 0, Out: 1, In: 1}, {Op: Forward, Rows: 1, Out: 1, In: 1}} {
		if _, err := Compare(context.Background(), Options{}, []Shape{s}); err == nil {
			t.Errorf("%v was measured, want an error", s)
		}
	}
}

// BenchmarkGemm reports both sides of every shape from one run; its own time per
// operation means nothing.
func BenchmarkGemm(b *testing.B) {
	for _, s := range append(Demo(), Large()...) {
		b.Run(s.String(), func(b *testing.B) {
			var rows []Row
			for range b.N {
				var err error
				if rows, err = Compare(context.Background(), Options{}, []Shape{s}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(rows[0].Ours, "GFLOP/s")
			b.ReportMetric(rows[0].OpenBLAS, "OpenBLAS-GFLOP/s")
			b.ReportMetric(rows[0].Ratio, "ratio")
		})
	}
}
