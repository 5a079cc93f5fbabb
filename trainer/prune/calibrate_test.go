package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
)

// batchOf pads samples of width in to one batch. Padding rows hold large numbers.
func batchOf(in int, samples ...[]float32) *data.Batch {
	b := &data.Batch{Sequences: len(samples)}
	for _, s := range samples {
		b.Length = max(b.Length, len(s)/in)
		b.Lengths = append(b.Lengths, int32(len(s)/in))
	}
	for _, s := range samples {
		b.Pixels = append(b.Pixels, s...)
		for range b.Length*in - len(s) {
			b.Pixels = append(b.Pixels, 1000)
		}
	}
	return b
}

func list(batches ...*data.Batch) Batches {
	return Batches{Count: len(batches), Batch: func(i int) (*data.Batch, error) { return batches[i], nil }}
}

func TestMasksAgreeWithPyTorch(t *testing.T) {
	ctx := context.Background()
	for i, g := range readGolden(t).Layers {
		b := newBench(t)
		tw := &tower{linear: b.linear(fmt.Sprintf("layer%d.weight", i), g.Out, g.In, g.Weight)}
		c, err := calibrated(ctx, []*model.Lane{b.lane}, nil, tw, list(batchOf(g.In, g.Samples[:2]...), batchOf(g.In, g.Samples[2])))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range g.Masks {
			o := Options{Method: want.Method, Pattern: pattern(t, want.Pattern), Calibration: c}
			if want.Granularity == "matrix" {
				o.Granularity = PerMatrix
			}
			masks, err := Compute(ctx, b.lane, tw, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := masks.Check(o.Pattern); err != nil {
				t.Error(err)
			}
			if got := text(masks[0].Mask); got != want.Kept {
				t.Errorf("layer %d, %s %s by %v:\n got %s\nwant %s", i, want.Method, want.Pattern, o.Granularity, got, want.Kept)
			}
		}
	}
}

func TestPaddingDoesNotCount(t *testing.T) {
	b := newBench(t)
	tw := &tower{linear: b.linear("w", 1, 2, []float32{1, 1})}
	c, err := calibrated(context.Background(), []*model.Lane{b.lane}, nil, tw, list(batchOf(2, []float32{1, 2, 3, 4}, []float32{5, 6})))
	if err != nil {
		t.Fatal(err)
	}
	s := c.Layers[0]
	if s.Rows != 3 || s.SumSquares[0] != 1+9+25 || s.SumSquares[1] != 4+16+36 {
		t.Errorf("statistics %+v", s)
	}
	if n := s.Norms(); n[0] != math.Sqrt(35.0/3) {
		t.Errorf("norms %v", n)
	}
}

func TestLanesDoNotShow(t *testing.T) {
	const in, count = 5, 11
	var batches []*data.Batch
	for i := range count {
		s := make([]float32, in*(1+i%3))
		for k := range s {
			s[k] = float32(math.Sin(float64(100*i + k)))
		}
		batches = append(batches, batchOf(in, s, s[:in]))
	}
	var first *Calibration
	for _, lanes := range []int{1, 2, 5} {
		b := newBench(t)
		tw := &tower{linear: b.linear("w", 1, in, make([]float32, in))}
		var ls []*model.Lane
		for range lanes {
			ls = append(ls, b.newLane())
		}
		c, err := calibrated(context.Background(), ls, nil, tw, list(batches...))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = c
		}
		for j, v := range c.Layers[0].SumSquares {
			if v != first.Layers[0].SumSquares[j] {
				t.Errorf("%d lanes: input %d sums to %v, one lane to %v", lanes, j, v, first.Layers[0].SumSquares[j])
			}
		}
	}
}

func TestUnreachedLinearFallsBackToMagnitude(t *testing.T) {
	b := newBench(t)
	tw := &tower{linear: b.linear("a", 1, 2, []float32{1, 1}), extra: []*model.Linear{b.linear("b", 1, 2, []float32{1, 2})}}
	c, err := calibrated(context.Background(), []*model.Lane{b.lane}, nil, tw, list(batchOf(2, []float32{3, 4})))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Of("b")
	if err != nil || s.Norms()[0] != 1 || s.Norms()[1] != 1 {
		t.Errorf("statistics of what never ran: %+v, %v", s, err)
	}
}

func TestCalibrationErrors(t *testing.T) {
	ctx, boom := context.Background(), errors.New("no such image")
	b := newBench(t)
	tw := &tower{linear: b.linear("w", 1, 2, []float32{1, 1})}
	lanes := []*model.Lane{b.lane, b.newLane()}
	good := batchOf(2, []float32{1, 2})
	_, err := calibrated(ctx, lanes, nil, tw, Batches{Count: 9, Batch: func(i int) (*data.Batch, error) {
		if i == 4 {
			return nil, boom
		}
		return good, nil
	}})
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "batch 4") {
		t.Errorf("a failing batch gives %v", err)
	}
	if _, err := calibrated(ctx, lanes, nil, tw, Batches{}); err == nil {
		t.Error("no batches: want an error")
	}
	if _, err := calibrated(ctx, lanes, nil, tw, list(batchOf(2, []float32{1, float32(math.NaN())}))); err == nil || !strings.Contains(err.Error(), "input 1 of w") {
		t.Errorf("NaN activations give %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := calibrated(canceled, lanes, nil, tw, list(good, good)); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context gives %v", err)
	}
	if _, err := Compute(ctx, b.lane, tw, Options{Method: Wanda, Pattern: pattern(t, "2:4")}); err == nil {
		t.Error("wanda without statistics: want an error")
	}
}

// downloads counts what comes to the host.
type downloads struct {
	kernels.Stream
	bytes int
}

func (d *downloads) Download(dst []byte, src kernels.Tensor) {
	d.bytes += len(dst)
	d.Stream.Download(dst, src)
}

// Activations stay on the device: a batch's sums alone come down, 8 bytes an input,
// however many tokens it has; and of an n:m selection the mask, not the weight.
func TestSumsAndMasksAloneComeToTheHost(t *testing.T) {
	const in, out, count = 64, 32, 3
	b := newBench(t)
	counted := &downloads{Stream: b.lane.Stream}
	b.lane.Stream = counted
	w, long := make([]float32, in*out), make([]float32, 500*in)
	for i := range w {
		w[i] = float32(i % 7)
	}
	for i := range long {
		long[i] = float32(i % 5)
	}
	tw := &tower{linear: b.linear("w", out, in, w)}
	batch := batchOf(in, long, long[:9*in])
	c, err := calibrated(t.Context(), []*model.Lane{b.lane}, nil, tw, list(batch, batch, batch))
	if err != nil {
		t.Fatal(err)
	}
	if want := count * 8 * in; counted.bytes != want {
		t.Errorf("calibration downloaded %d bytes, want %d", counted.bytes, want)
	}
	counted.bytes = 0
	if _, err := Compute(t.Context(), b.lane, tw, Options{Method: Wanda, Pattern: pattern(t, "2:4"), Calibration: c}); err != nil {
		t.Fatal(err)
	}
	if want := out*in/8 + 4*out; counted.bytes != want {
		t.Errorf("the selection downloaded %d bytes, want those of the mask and of %d rows' faults, %d", counted.bytes, out, want)
	}
}
