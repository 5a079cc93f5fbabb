package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"ressa/kernels/cpu"
	"ressa/kernels/cpu/dense"
	"ressa/kernels/cpu/openblas"
)

// Options says how to measure.
type Options struct {
	Threads int           // of both sides; 0 means as many as there are processors
	Variant string        // of the C kernels; empty is the best one
	Turns   int           // per part; 0 means 5
	Turn    time.Duration // the least duration of one side's turn; 0 means 20 ms
	// Progress, where it is set, is told of every group before it is measured.
	Progress func(group string)
}

// Report is a whole measurement.
type Report struct {
	Kind    string `json:"numeric_kind"`
	Threads int    `json:"threads"`
	Turns   int    `json:"turns"`
	Clock   string `json:"clock"`                    // what times are of
	Core    string `json:"openblas_core,omitempty"`  // whose kernels OpenBLAS chose
	Build   string `json:"openblas_build,omitempty"` // its version and build options
	Missing string `json:"openblas_missing,omitempty"`
	Floor   Floor  `json:"floor"`
	Rows    []Row  `json:"rows"`
}

// spinning is longer than the threads of OpenBLAS wait for work before they sleep;
// until then they take processors from the other side.
const spinning = 150 * time.Millisecond

// Run measures every group, both sides in turns. With OpenBLAS missing it measures
// our side alone. It fails when a group cannot be opened, the variant cannot run
// here, memory runs out or the context ends.
func Run(ctx context.Context, o Options, groups []Group) (_ *Report, err error) {
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Turns == 0 {
		o.Turns = 5
	}
	if o.Turn == 0 {
		o.Turn = 20 * time.Millisecond
	}
	runtime.LockOSThread() // whose processor time is read
	defer runtime.UnlockOSThread()
	d, err := cpu.Open(cpu.Options{Threads: o.Threads, Variant: o.Variant})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	r := &Report{Kind: d.Kind(), Threads: o.Threads, Turns: o.Turns}
	clock := wall()
	if r.Clock = "wall"; o.Threads == 1 {
		r.Clock, clock = threadClock()
	}
	rig := &Rig{device: d}
	if rig.library, err = openblas.Load(); err != nil {
		r.Missing, rig.library = err.Error(), nil
	} else {
		r.Core, r.Build = rig.library.Core(), rig.library.Config()
		if rig.published, err = dense.Wrap(d, o.Threads); err != nil {
			return nil, err
		}
	}
	if r.Floor, err = measureFloor(d, o.Threads); err != nil {
		return nil, err
	}
	for _, g := range groups {
		if o.Progress != nil {
			o.Progress(g.Name)
		}
		rows, err := rig.measure(ctx, o, clock, r.Floor, g)
		if err != nil {
			return nil, fmt.Errorf("bench: %s: %w", g.Name, err)
		}
		r.Rows = append(r.Rows, rows...)
	}
	return r, nil
}

// measure opens a group, measures its parts and closes it.
func (r *Rig) measure(ctx context.Context, o Options, clock func() time.Duration, floor Floor, g Group) (_ []Row, err error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	parts, err := g.Open(r)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.err, r.stream.Synchronize(ctx)); err != nil {
		return nil, err
	}
	stages := [][]Part{parts}
	if !g.Sequence {
		stages = nil
		for _, p := range parts {
			stages = append(stages, []Part{p})
		}
	}
	var rows []Row
	for _, s := range stages {
		more, err := r.turns(ctx, o, clock, floor, s)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// turns measures parts that run one after the other; of several, the whole too.
func (r *Rig) turns(ctx context.Context, o Options, clock func() time.Duration, floor Floor, parts []Part) ([]Row, error) {
	if len(parts) > 1 {
		whole := Part{Label: parts[0].Label}
		whole.Op = "step"
		for _, p := range parts {
			whole.Flops, whole.Bytes = whole.Flops+p.Flops, whole.Bytes+p.Bytes
		}
		parts = append(parts, whole)
	}
	ours, theirs, ratios := make([][]float64, len(parts)), make([][]float64, len(parts)), make([][]float64, len(parts))
	for turn := -1; turn < o.Turns; turn++ { // the first one warms up
		a := timed(o.Turn, clock, parts, func(p Part) func() { return p.ours })
		var b []float64
		if parts[0].theirs != nil {
			b = timed(o.Turn, clock, parts, func(p Part) func() { return p.theirs })
			time.Sleep(spinning)
		}
		if err := r.synchronize(ctx); err != nil {
			return nil, err
		}
		if turn < 0 {
			continue
		}
		for i := range parts {
			ours[i] = append(ours[i], a[i])
			if b != nil {
				theirs[i], ratios[i] = append(theirs[i], b[i]), append(ratios[i], b[i]/a[i])
			}
		}
	}
	rows := make([]Row, len(parts))
	for i, p := range parts {
		rows[i] = floor.row(p, SpreadOf(ours[i]))
		if len(theirs[i]) > 0 {
			t, q := SpreadOf(theirs[i]), SpreadOf(ratios[i])
			rows[i].Theirs, rows[i].Ratio = &t, &q
		}
	}
	return rows, nil
}

// timed repeats the parts for at least d and returns the mean seconds of each; a
// part without a function is the sum of the others.
func timed(d time.Duration, clock func() time.Duration, parts []Part, of func(Part) func()) []float64 {
	sums := make([]time.Duration, len(parts))
	n := 0
	for start := time.Now(); n == 0 || time.Since(start) < d; n++ {
		began := clock()
		last := began
		for i, p := range parts {
			f := of(p)
			if f == nil {
				sums[i] += last - began
				continue
			}
			f()
			t := clock()
			sums[i] += t - last
			last = t
		}
	}
	out := make([]float64, len(parts))
	for i, s := range sums {
		out[i] = s.Seconds() / float64(n)
	}
	return out
}

// row sets a measurement against the floor.
func (f Floor) row(p Part, s Spread) Row {
	arithmetic, memory := p.Flops/(f.GFLOPS*1e9), p.Bytes/(f.GBps*1e9)
	r := Row{Label: p.Label, Flops: p.Flops, Bytes: p.Bytes, Seconds: s, GFLOPS: p.Flops / s.Median / 1e9, GBps: p.Bytes / s.Median / 1e9, Bound: "arithmetic"}
	least := arithmetic
	if p.Bytes > f.Cache && memory > arithmetic {
		r.Bound, least = "memory", memory
	}
	r.Share = least / s.Median
	return r
}
