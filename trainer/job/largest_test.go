package job_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/trainer/job"
)

// counting is a device that counts what is allocated.
type counting struct {
	kernels.Device
	allocations atomic.Int64
}

func (d *counting) Alloc(bytes int) (kernels.Buffer, error) {
	d.allocations.Add(1)
	return d.Device.Alloc(bytes)
}

// TestAJobAllocatesInItsFirstStep counts what steps take from the device.
func TestAJobAllocatesInItsFirstStep(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps, b.job.Train.CheckpointEvery = 5, 0
	b.job.Train.Batch, b.job.Train.Microbatches = 20, 5
	o := b.options(filepath.Join(b.dir, "run"))
	d := &counting{Device: o.Device}
	o.Device, o.Lanes = d, 2
	var counts []int64
	o.Emit = func(e api.Event) {
		if e.Step != nil {
			counts = append(counts, d.allocations.Load())
		}
	}
	_, err := job.Run(context.Background(), b.job, o)
	b.check(err)
	if len(counts) != 5 || counts[4] != counts[0] {
		t.Errorf("allocations after each step: %v, want none after the first", counts)
	}
}
