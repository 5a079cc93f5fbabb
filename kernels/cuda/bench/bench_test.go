//go:build cgo && linux

package bench

import (
	"math"
	"strings"
	"testing"
	"time"

	"ressa/kernels"
	"ressa/kernels/cuda"
	"ressa/kernels/cuda/shim"
	"ressa/kernels/reference"
	"ressa/kernels/sparse"
)

// small cases with rows enough that operands repeat what the host made.
func small() []Case {
	return []Case{
		{Suite: Layer, Tokens: 40, Out: 72, In: 64, Rank: 3},
		{Suite: Attention, Tokens: 20, Heads: 2, HeadDim: 16, Causal: true},
		{Suite: Attention, Tokens: 20, Heads: 2, HeadDim: 16},
		{Suite: Loss, Tokens: 6, Vocabulary: 300},
		{Suite: Memory, Tokens: 20, In: 64},
	}
}

func pattern(t *testing.T, text string) sparse.Pattern {
	t.Helper()
	p, err := sparse.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryCaseIsMeasured(t *testing.T) {
	o := cuda.Options{Library: shim.Build(t)}
	var stock Stock
	for _, c := range small() {
		s, err := Open(t.Context(), o, &stock, c, pattern(t, "2:4"), time.Microsecond)
		if err != nil {
			t.Fatal(err)
		}
		times, err := s.Turn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for i, p := range s.Parts {
			if !(times[i] > 0) || !(p.Bytes > 0) || p.Name == "" {
				t.Errorf("%v, %s: %v s, %v bytes", c, p.Name, times[i], p.Bytes)
			}
			sum += times[i]
		}
		if len(times) != len(s.Parts)+1 || math.Abs(times[len(s.Parts)]-sum) > 1e-9 {
			t.Errorf("%v: times %v, want those of %d parts and their sum", c, times, len(s.Parts))
		}
		if s.Peak() < int64(s.Parts[0].Bytes/4) {
			t.Errorf("%v: a peak of %d bytes for operands of %v", c, s.Peak(), s.Parts[0].Bytes)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(stock.made) != 1 {
		t.Errorf("%d weights were made, want one for the layer", len(stock.made))
	}
}

// A turn repeats what is shorter than it is to last.
func TestShortPartsAreRepeated(t *testing.T) {
	s, err := Open(t.Context(), cuda.Options{Library: shim.Build(t)}, &Stock{}, Case{Suite: Memory, Tokens: 2, In: 8}, sparse.Pattern{}, 30*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.repeat < 2 || s.repeat > mostLaps {
		t.Errorf("repeated %d times", s.repeat)
	}
	if _, err := s.Turn(t.Context()); err != nil {
		t.Error(err)
	}
}

// What the host made is repeated over the rows of larger tensors.
func TestLargeOperandsRepeatTheirRows(t *testing.T) {
	o := operands{device: reference.Open(), random: 1, named: map[string]kernels.Tensor{}}
	var err error
	if o.stream, err = o.device.NewStream(); err != nil {
		t.Fatal(err)
	}
	const cols = blockValues / 2
	x := o.values("x", 5, cols, 1)
	raw := make([]byte, x.Bytes())
	o.stream.Download(raw, x)
	if err := o.stream.Synchronize(t.Context()); err != nil || o.err != nil {
		t.Fatal(err, o.err)
	}
	v := kernels.DecodeF32(raw)
	for _, i := range []int{0, 7, cols + 1, 2*cols - 1} {
		if v[i] == 0 || v[i] == v[i+1] || v[i] != v[i+2*cols] {
			t.Errorf("element %d is %v, the next %v, two rows on %v", i, v[i], v[i+1], v[i+2*cols])
		}
	}
}

func TestComputeAgreesWithTheReference(t *testing.T) {
	d, err := cuda.Open(cuda.Options{Library: shim.Build(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, c := range small()[:4] {
		in, err := Inputs(c, pattern(t, "unstructured:0.7"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Compute(t.Context(), d, c, in)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Compute(t.Context(), reference.Open(), c, in)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(outputs(c.Suite)) {
			t.Errorf("%v has %d results", c, len(got))
		}
		for name, v := range want {
			for i := range v {
				if d := math.Abs(float64(v[i] - got[name][i])); !(d < 1e-4) {
					t.Fatalf("%v: %s[%d] is %v, want %v", c, name, i, got[name][i], v[i])
				}
			}
		}
	}
}

func TestWrongCasesAreRefused(t *testing.T) {
	for _, c := range []Case{{Suite: "other"}, {Suite: Layer, Tokens: 1, Out: 1, In: 1}, {Suite: Loss, Tokens: 1 << 30, Vocabulary: 5}} {
		if c.Check() == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	if _, err := Inputs(Case{Suite: Layer, Tokens: 1, Out: 1, In: 5, Rank: 1}, pattern(t, "2:4")); err == nil {
		t.Error("a mask of 2:4 with 5 columns was made")
	}
	if _, err := Open(t.Context(), cuda.Options{Library: "/nowhere.so"}, &Stock{}, small()[0], pattern(t, "2:4"), 1); err == nil || !strings.Contains(err.Error(), "/nowhere.so") {
		t.Errorf("a missing driver gave %v", err)
	}
}

func TestPeaks(t *testing.T) {
	p, err := Measured(t.Context(), cuda.Options{Library: shim.Build(t)}, 64, 1<<12, time.Microsecond)
	if err != nil || !(p.Flops > 0) || !(p.Bytes > 0) {
		t.Errorf("measured %+v, %v", p, err)
	}
	for name, want := range map[string]Peak{
		"NVIDIA H100 80GB HBM3": {989e12, 3.35e12}, "NVIDIA H100 PCIe": {756e12, 2e12}, "NVIDIA H100 NVL": {835e12, 3.9e12}, "NVIDIA H200": {989e12, 4.8e12},
		"NVIDIA A100-SXM4-40GB": {312e12, 1.555e12}, "NVIDIA A100-SXM4-80GB": {312e12, 2.039e12}, "NVIDIA A100 80GB PCIe": {312e12, 1.935e12}, "NVIDIA A100-PCIE-40GB": {312e12, 1.555e12},
	} {
		if got, ok := Sheet(name); !ok || got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if _, ok := Sheet("shim"); ok {
		t.Error("there is a data sheet of the shim")
	}
	x := Part{Flops: 1e12, Bytes: 1e9}
	if f := (Peak{Flops: 1e12, Bytes: 1e12}).Floor(x); f != 1 {
		t.Errorf("the floor of a second's arithmetic is %v", f)
	}
	if f := (Peak{Flops: 1e15, Bytes: 1e9}).Floor(x); f != 1 {
		t.Errorf("the floor of a second's memory is %v", f)
	}
}
