package job_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/trainer/job"
)

// holding is a device that knows how many bytes are given out.
type holding struct {
	kernels.Device
	mu    sync.Mutex
	bytes int
}

func (d *holding) Alloc(bytes int) (kernels.Buffer, error) {
	b, err := d.Device.Alloc(bytes)
	if err == nil {
		d.add(bytes)
	}
	return b, err
}

func (d *holding) Free(b kernels.Buffer) {
	d.add(-b.Bytes())
	d.Device.Free(b)
}

func (d *holding) add(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes += n
}

// Where no teacher computes with a tower's dense weights, training holds what the
// masks keep of them; what comes out is scored, resumed and written as ever.
func TestTrainingWithoutATeacherHoldsNoZeros(t *testing.T) {
	held := func(lambda float64, teacher string) (int, api.Result) {
		b := newBench(t)
		b.job.Distill.Lambda, b.job.Distill.Teachers = lambda, map[string]float64{teacher: 1}
		b.job.Train.Steps, b.job.Prune.Method = 3, "magnitude"
		b.job.Prune.Vision, b.job.Prune.Language = "2:4", "2:4"
		o := b.options(filepath.Join(b.dir, "run"))
		d := &holding{Device: b.device}
		o.Device = d
		most := 0
		o.Emit = func(e api.Event) {
			if e.Step != nil {
				most = max(most, d.bytes)
			}
		}
		result, err := job.Run(context.Background(), b.job, o)
		b.check(err)
		return most, result
	}
	both, _ := held(0.5, "dense-dense")
	language, _ := held(0.5, "dense-language") // the vision tower has no teacher
	none, result := held(0, "dense-dense")
	t.Logf("training holds %d bytes with a teacher of both towers, %d with one of language, %d without", both, language, none)
	if !(none < language && language < both) {
		t.Error("what no teacher needs is held")
	}
	if result.AdapterSHA256 == "" || result.State != api.Succeeded {
		t.Errorf("the run without a teacher ended as %+v", result)
	}
}
