package prune

import (
	"context"
	"math"
	"testing"

	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
)

// sequences returns a batch of LLaVA prompts, an image each, with texts of these
// lengths, numbered from first.
func sequences(t *testing.T, c llava.Config, first int, texts ...int) *data.Batch {
	t.Helper()
	var samples []data.Sample
	for i, n := range texts {
		s := data.Sample{Pixels: [][]float32{make([]float32, c.Vision.PixelsPerImage())}}
		for k := range s.Pixels[0] {
			s.Pixels[0][k] = float32(math.Sin(float64((first + i) * (k + 1))))
		}
		for p := range c.FeaturesPerImage() {
			s.Tokens, s.ImageRows = append(s.Tokens, int32(c.ImageToken)), append(s.ImageRows, int32(p))
		}
		for k := range n {
			s.Tokens = append(s.Tokens, int32((first+i+3*k)%40))
		}
		for range s.Tokens {
			s.Labels = append(s.Labels, data.Ignore)
		}
		samples = append(samples, s)
	}
	b, err := data.Collate(samples, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

// Both towers of a model, padded and not: the statistics are those of the same
// sequences one by one, in both towers, but for the last bits.
func TestCalibrateBothTowers(t *testing.T) {
	ctx, b := context.Background(), newBench(t)
	m, err := llava.Open(ctx, b.device, "../model/llava/testdata/tiny", llava.Options{})
	if err != nil {
		t.Fatal(err)
	}
	calibrate := func(lanes int, batches ...*data.Batch) *Calibration {
		t.Helper()
		var ls []*model.Lane
		for range lanes {
			ls = append(ls, b.newLane())
		}
		c, err := calibrated(ctx, ls, m.Vision, m.Language, list(batches...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	padded := calibrate(2, sequences(t, m.Config, 1, 3, 9), sequences(t, m.Config, 3, 5, 1))
	single := calibrate(1, sequences(t, m.Config, 1, 3), sequences(t, m.Config, 2, 9), sequences(t, m.Config, 3, 5), sequences(t, m.Config, 4, 1))
	want := len(m.Vision.Linears()) + len(m.Language.Linears()) - 2 // the projector is not prunable
	if len(padded.Layers) != want {
		t.Fatalf("%d layers, want %d", len(padded.Layers), want)
	}
	image, text := 4*m.Config.Vision.Tokens(), 4*m.Config.FeaturesPerImage()+3+9+5+1
	for k, s := range padded.Layers {
		rows := text
		if k < len(m.Vision.Linears()) {
			rows = image
		}
		if s.Rows != rows || s.Name != single.Layers[k].Name {
			t.Errorf("%s has %d rows, want %d", s.Name, s.Rows, rows)
		}
		for j, v := range s.SumSquares {
			if w := single.Layers[k].SumSquares[j]; math.Abs(v-w) > 1e-4*math.Abs(w)+1e-9 || v == 0 {
				t.Fatalf("%s input %d: %v with padding, %v without", s.Name, j, v, w)
			}
		}
	}
	for _, tower := range []model.Tower{m.Vision, m.Language} {
		masks, err := Compute(ctx, b.lane, tower, Options{Method: Wanda, Pattern: pattern(t, "1:2"), Calibration: padded})
		if err != nil {
			t.Fatal(err)
		}
		if err := masks.Check(pattern(t, "1:2")); err != nil {
			t.Error(err)
		}
	}
}
