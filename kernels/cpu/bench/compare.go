package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/cpu/openblas"
)

// Options says how to measure.
type Options struct {
	Threads int           // of both sides; 0 means as many as there are processors
	Variant string        // of the C kernels; empty is the best one
	Turns   int           // per shape; 0 means 5
	Turn    time.Duration // the least duration of one side's turn; 0 means 20 ms
}

// Row is the measurement of one shape. Without OpenBLAS its rate, the ratio and
// the core are zero.
type Row struct {
	Shape    Shape
	Kind     string  // numeric kind of our side
	Ours     float64 // GFLOP/s of the dense product, median
	OpenBLAS float64 // GFLOP/s, median
	Ratio    float64 // median of the turns' ours/OpenBLAS
	Core     string  // that OpenBLAS chose
}

// Compare measures every shape, both sides in turns. With OpenBLAS missing it
// measures our side alone. It fails when a shape is not valid, the variant cannot
// run here, memory runs out or the context ends.
func Compare(ctx context.Context, o Options, shapes []Shape) ([]Row, error) {
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Turns == 0 {
		o.Turns = 5
	}
	if o.Turn == 0 {
		o.Turn = 20 * time.Millisecond
	}
	lib, err := openblas.Load()
	if err != nil {
		lib = nil
	} else {
		lib.SetThreads(o.Threads)
	}
	dev, err := cpu.Open(cpu.Options{Threads: o.Threads, Variant: o.Variant})
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	rows := make([]Row, 0, len(shapes))
	for _, shape := range shapes {
		row, err := compare(ctx, o, dev, lib, shape)
		if err != nil {
			return nil, fmt.Errorf("bench: %v: %w", shape, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func compare(ctx context.Context, o Options, dev kernels.Device, lib *openblas.Library, shape Shape) (Row, error) {
	row := Row{Shape: shape, Kind: dev.Kind()}
	w, err := newWork(dev, shape)
	if err != nil {
		return row, err
	}
	defer w.close()
	w.ours()
	if err := w.stream.Synchronize(ctx); err != nil {
		return row, err
	}
	if lib != nil {
		row.Core = lib.Core()
		w.theirs(lib)
	}
	var ours, theirs, ratios []float64
	for range o.Turns {
		if lib != nil && o.Threads > 1 {
			time.Sleep(rest)
		}
		a := turn(o.Turn, shape.flops(), w.ours)
		ours = append(ours, a)
		if lib != nil {
			if o.Threads > 1 {
				time.Sleep(rest)
			}
			b := turn(o.Turn, shape.flops(), func() { w.theirs(lib) })
			theirs, ratios = append(theirs, b), append(ratios, a/b)
		}
		if err := w.stream.Synchronize(ctx); err != nil {
			return row, err
		}
	}
	row.Ours, row.OpenBLAS, row.Ratio = median(ours), median(theirs), median(ratios)
	return row, nil
}

// rest is what OpenBLAS's threads need to fall asleep after a call: they spin for
// 2²⁸ cycles, on the processors that our threads would use. Both sides start from it.
const rest = 150 * time.Millisecond

// turn repeats f for at least d, after once to wake threads, and returns GFLOP/s.
func turn(d time.Duration, flops float64, f func()) float64 {
	f()
	start := time.Now()
	for n := 1; ; n++ {
		f()
		if t := time.Since(start); t >= d {
			return flops * float64(n) / t.Seconds() / 1e9
		}
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[len(v)/2]
}
