package step_test

import (
	"context"
	"runtime"
	"testing"

	"ressa/kernels/cpu"
	"ressa/trainer/adapter"
)

// What a microbatch leaves to the garbage collector is a hundred small structs,
// some for each block, and no copy of its pixels.
func TestAMicrobatchLeavesLittleGarbage(t *testing.T) {
	d, err := cpu.Open(cpu.Options{Threads: 1})
	if err != nil {
		t.Skip(err)
	}
	const g = 4
	e := newEngine(t, setting{method: adapter.SparseLoRA, device: d, lanes: 1, objective: distilling(t, "dense-dense")})
	batches, s := microbatches(t, g, 0, false), 0
	one := func() {
		if _, err := e.Step(context.Background(), s, batches); err != nil {
			t.Fatal(err)
		}
		s++
	}
	one()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	allocations := testing.AllocsPerRun(20, one) / g
	runtime.ReadMemStats(&after)
	bytes := float64(after.TotalAlloc-before.TotalAlloc) / 21 / g
	t.Logf("%.0f allocations of %.0f bytes in all a microbatch", allocations, bytes)
	if allocations > 150 || bytes > 16<<10 {
		t.Errorf("%.0f allocations of %.0f bytes in all a microbatch, want at most 150 of 16 KiB", allocations, bytes)
	}
}
