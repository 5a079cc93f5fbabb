package optim

import (
	"context"
	"math"
	"strings"
	"testing"

	"ressa/kernels/reference"
	"ressa/trainer/model"
)

func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Schedule
		want map[int]float64
	}{
		{"constant", Schedule{Kind: "constant", Base: 2, Steps: 10}, map[int]float64{0: 2, 9: 2}},
		{"warm-up", Schedule{Kind: "constant", Base: 2, Warmup: 4, Steps: 10}, map[int]float64{0: 0.5, 1: 1, 3: 2, 9: 2}},
		{"linear", Schedule{Kind: "linear", Base: 2, Steps: 11}, map[int]float64{0: 2, 5: 1, 10: 0}},
		{"linear to a floor", Schedule{Kind: "linear", Base: 2, Floor: 0.5, Steps: 11}, map[int]float64{0: 2, 10: 1}},
		{"cosine", Schedule{Kind: "cosine", Base: 2, Steps: 11}, map[int]float64{0: 2, 5: 1, 10: 0}},
		{"cosine after warm-up", Schedule{Kind: "cosine", Base: 2, Warmup: 2, Steps: 5}, map[int]float64{0: 1, 1: 2, 2: 2, 3: 1, 4: 0}},
		{"one step", Schedule{Kind: "cosine", Base: 2, Steps: 1}, map[int]float64{0: 2}},
	} {
		if err := c.s.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for step, want := range c.want {
			if got := c.s.At(step); math.Abs(got-want) > 1e-12 {
				t.Errorf("%s: step %d at %v, want %v", c.name, step, got, want)
			}
		}
	}
}

func TestChecksName(t *testing.T) {
	ok := Schedule{Kind: "cosine", Base: 1, Steps: 3}
	for want, change := range map[string]func(*Schedule){
		"schedule:":      func(s *Schedule) { s.Kind = "step" },
		"learning rate:": func(s *Schedule) { s.Base = math.NaN() },
		"steps:":         func(s *Schedule) { s.Steps = 0 },
		"warmup:":        func(s *Schedule) { s.Warmup = 4 },
		"floor:":         func(s *Schedule) { s.Floor = 2 },
	} {
		s := ok
		change(&s)
		if err := s.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want one that starts with %q", err, want)
		}
	}
	c := DefaultConfig()
	c.Beta2 = 1
	if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), "beta2:") {
		t.Errorf("error %v, want one about beta2", err)
	}
}

func TestClipScale(t *testing.T) {
	c := Config{ClipNorm: 2}
	if got := c.ClipScale(1); got != 1 {
		t.Errorf("a small norm is scaled by %v", got)
	}
	if got := c.ClipScale(8); math.Abs(float64(got)-0.25) > 1e-6 {
		t.Errorf("norm 8 is scaled by %v, want 0.25", got)
	}
	if got := (Config{}).ClipScale(1e9); got != 1 {
		t.Errorf("without clipping the scale is %v", got)
	}
}

// TestUpdateDecaysMatricesOnly runs two steps against AdamW written out in float64.
func TestUpdateDecaysMatricesOnly(t *testing.T) {
	ctx := context.Background()
	d := reference.Open()
	defer d.Close()
	layout := &model.Layout{}
	matrix, bias := layout.Add("w", 2, 3), layout.Add("b", 1, 2)
	v, err := NewVector(d, layout)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Free(d)
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	grad, err := NewVector(d, layout)
	if err != nil {
		t.Fatal(err)
	}
	defer grad.Free(d)
	const p0, lr, decay, scale = 0.5, 0.1, 0.3, 0.5
	s.Fill(v.Values, p0)
	c := DefaultConfig()
	c.WeightDecay = decay
	gs := []float64{0.25, -0.125}
	want := map[string]float64{"w": p0, "b": p0}
	for name := range want {
		m, n, p := 0.0, 0.0, p0
		for step, g := range gs {
			g *= scale
			if name == "w" {
				p -= lr * decay * p
			}
			m, n = 0.9*m+0.1*g, 0.999*n+0.001*g*g
			b1, b2 := 1-math.Pow(0.9, float64(step+1)), 1-math.Pow(0.999, float64(step+1))
			p -= lr / b1 * m / (math.Sqrt(n)/math.Sqrt(b2) + 1e-8)
		}
		want[name] = p
	}
	for step, g := range gs {
		s.Fill(grad.Values, float32(g))
		v.Update(s, c, grad.Values, lr, step, scale)
	}
	for _, slot := range []*model.Slot{matrix, bias} {
		raw := make([]byte, 4*slot.Len())
		s.Download(raw, slot.View(v.Values))
		if err := s.Synchronize(ctx); err != nil {
			t.Fatal(err)
		}
		for i := range slot.Len() {
			bits := uint32(raw[4*i]) | uint32(raw[4*i+1])<<8 | uint32(raw[4*i+2])<<16 | uint32(raw[4*i+3])<<24
			if got := float64(math.Float32frombits(bits)); math.Abs(got-want[slot.Name]) > 1e-6 {
				t.Errorf("%s[%d] = %v, want %v", slot.Name, i, got, want[slot.Name])
			}
		}
	}
}

func TestSumSquaresBySlot(t *testing.T) {
	ctx := context.Background()
	d := reference.Open()
	defer d.Close()
	layout := &model.Layout{}
	layout.Add("a", 2, 3)
	layout.Add("b", 1, 5)
	v, err := NewVector(d, layout)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Free(d)
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Fill(layout.Slots[0].View(v.Values), 2)
	s.Fill(layout.Slots[1].View(v.Values), 3)
	got, err := v.SumSquares(ctx, s, v.Values)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != 24 || got[1] != 45 {
		t.Errorf("sums %v, want [24 45]", got)
	}
	if n := Norm(got, []float64{100}); n != 13 {
		t.Errorf("norm %v, want 13", n)
	}
}
