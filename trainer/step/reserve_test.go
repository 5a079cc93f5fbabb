package step_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/adapter"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/random"
	"ressa/trainer/step"
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

// sized makes a microbatch of so many samples of text lengths up to longest, of
// which those that r picks have an image.
func sized(t *testing.T, r *random.Stream, samples, longest int) *data.Batch {
	t.Helper()
	c := tinyConfig()
	var list []data.Sample
	for range samples {
		s := data.Sample{Tokens: []int32{1}}
		if r.IntN(4) > 0 {
			for range c.FeaturesPerImage() {
				s.ImageRows = append(s.ImageRows, int32(len(s.Tokens)))
				s.Tokens = append(s.Tokens, int32(c.ImageToken))
			}
			s.Pixels = [][]float32{make([]float32, c.Vision.PixelsPerImage())}
		}
		for range 1 + r.IntN(longest) {
			s.Tokens = append(s.Tokens, int32(5+r.IntN(20)))
		}
		s.Labels = make([]int32, len(s.Tokens))
		for k := range s.Labels {
			if s.Labels[k] = data.Ignore; k == len(s.Labels)-1 || r.IntN(3) == 0 {
				s.Labels[k] = int32(5 + r.IntN(20))
			}
		}
		list = append(list, s)
	}
	b, err := data.Collate(list, 3)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

// After the first step nothing is allocated, whatever comes that the largest
// microbatch covers.
func TestStepsAllocateNothingAfterTheFirst(t *testing.T) {
	const samples, longest = 5, 20
	c := tinyConfig()
	for name, s := range map[string]setting{
		"sparselora":         {method: adapter.SparseLoRA},
		"sparselora, bf16":   {method: adapter.SparseLoRA, wire: kernels.BF16},
		"masked, recompute":  {method: adapter.Masked, recompute: model.RecomputeMLPs},
		"full":               {method: adapter.Full},
		"lora-remask, again": {method: adapter.LoRARemask, recompute: model.RecomputeBlocks},
	} {
		for _, lanes := range []int{1, 3} {
			d := &counting{Device: reference.Open()}
			s.device, s.lanes, s.objective = d, lanes, distilling(t, "dense-dense", "dense-vision")
			s.largest = step.Shape{Sequences: samples, Length: 1 + c.FeaturesPerImage() + longest, Images: samples, Pixels: c.Vision.PixelsPerImage(),
				ImageRows: samples * c.FeaturesPerImage(), Answers: samples * (1 + c.FeaturesPerImage() + longest)}
			e := newEngine(t, s)
			r := random.New(9, uint32(lanes), 0, 1)
			var before int64
			for i := range 12 {
				var batches []*data.Batch
				for range 5 {
					batches = append(batches, sized(t, &r, 1+r.IntN(samples), 1+(longest-1)*i/11)) // later ones are longer
				}
				if _, err := e.Step(context.Background(), i, batches); err != nil {
					t.Fatal(err)
				}
				now := d.allocations.Load()
				if i > 0 && now != before {
					t.Errorf("%s, %d lanes: step %d allocates %d times", name, lanes, i+1, now-before)
				}
				before = now
			}
		}
	}
}

// Without a largest microbatch, one that is larger than all before is planned for
// when it comes, and then fits.
func TestLargerMicrobatchesGrowMemoryOnce(t *testing.T) {
	d := &counting{Device: reference.Open()}
	e := newEngine(t, setting{method: adapter.SparseLoRA, device: d, lanes: 1, objective: distilling(t, "dense-dense")})
	r := random.New(3, 0, 0, 1)
	small, large := sized(t, &r, 2, 3), sized(t, &r, 5, 20)
	var counts []int64
	for i, b := range []*data.Batch{small, small, large, small, large} {
		before := d.allocations.Load()
		if _, err := e.Step(context.Background(), i, []*data.Batch{b}); err != nil {
			t.Fatal(err)
		}
		counts = append(counts, d.allocations.Load()-before)
	}
	if counts[1] != 0 || counts[2] != 1 || counts[3] != 0 || counts[4] != 0 {
		t.Errorf("allocations by step: %v, want some, 0, 1, 0, 0", counts)
	}
}

var errFull = errors.New("full")

// bounded is a device with room for one buffer less than was asked for.
type bounded struct {
	kernels.Device
	most int
}

func (d *bounded) Alloc(bytes int) (kernels.Buffer, error) {
	if bytes > d.most {
		return nil, errFull
	}
	return d.Device.Alloc(bytes)
}

// A reservation that the device refuses is no error: what the job really takes
// decides.
func TestAReservationThatDoesNotFit(t *testing.T) {
	d := &bounded{Device: reference.Open(), most: 1 << 22}
	largest := step.Shape{Sequences: 64, Length: 32, Images: 64, Pixels: tinyConfig().Vision.PixelsPerImage(), ImageRows: 256, Answers: 1000}
	e := newEngine(t, setting{method: adapter.SparseLoRA, device: d, lanes: 1, objective: distilling(t, "dense-dense"), largest: largest})
	r := random.New(3, 0, 0, 1)
	for i := range 2 {
		if _, err := e.Step(context.Background(), i, []*data.Batch{sized(t, &r, 3, 8)}); err != nil {
			t.Fatal(err)
		}
	}
}
