package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/reference"
	"ressa/kernels/sparse"
	"ressa/trainer/model"
	"ressa/trainer/random"
)

// bySorting is what lowest must agree with.
func bySorting(scores []float64, k int) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case scores[a] < scores[b]:
			return -1
		case scores[a] > scores[b]:
			return 1
		}
		return 0
	})
	out := order[:k]
	slices.Sort(out)
	return out
}

func TestLowestIsAStableSort(t *testing.T) {
	r := random.New(1, 0, 0, 0)
	for range 300 {
		n := 1 + r.IntN(70)
		scores := make([]float64, n)
		for i := range scores {
			switch r.IntN(3) {
			case 0:
				scores[i] = float64(r.IntN(4)) // ties and zeros
			case 1:
				scores[i] = math.Abs(float64(r.Normal()))
			default:
				scores[i] = math.SmallestNonzeroFloat64 * float64(r.IntN(3))
			}
		}
		k := r.IntN(n + 1)
		var got []int
		lowest(scores, k, make([]uint64, n), func(i int) { got = append(got, i) })
		want := bySorting(scores, k)
		if !slices.Equal(got, want) {
			t.Fatalf("lowest %d of %v: %v, want %v", k, scores, got, want)
		}
	}
}

// selected makes a mask as [Compute] does.
func (b *bench) selected(w []float32, rows, cols int, norms []float64, p sparse.Pattern, g Granularity) (sparse.Mask, error) {
	b.Helper()
	return Options{Pattern: p, Granularity: g}.mask(b.Context(), b.lane, b.linear("w", rows, cols, w), norms)
}

// On every device, an n:m mask is what a stable sort of each group gives.
func TestGroupsAreStableSorts(t *testing.T) {
	devices := map[string]kernels.Device{"reference": reference.Open()}
	for _, variant := range []string{"avx512", "avx2", "generic"} {
		if d, err := cpu.Open(cpu.Options{Variant: variant}); err == nil {
			devices[variant] = d
		}
	}
	for name, d := range devices {
		b := &bench{T: t, device: d}
		b.lane = b.newLane()
		r := random.New(6, 0, 0, 0)
		for _, text := range []string{"1:2", "2:4", "4:8", "3:5", "7:16", "5:32", "1:64", "62:63"} {
			p := pattern(t, text)
			rows, cols := 9, 41*p.M
			w, norms := make([]float32, rows*cols), make([]float64, cols)
			for i := range w {
				switch r.IntN(3) {
				case 0:
					w[i] = float32(r.IntN(5) - 2) // ties of both signs
				case 1:
					w[i] = float32(math.Copysign(0, float64(r.Normal())))
				default:
					w[i] = r.Normal()
				}
			}
			for i := range norms {
				norms[i] = []float64{0, 1, 1 + 0x1p-52, float64(r.IntN(9)) / 7}[r.IntN(4)]
			}
			for _, norms := range [][]float64{norms, nil} {
				want := sparse.NewOnes(rows, cols)
				for i := 0; i < len(w); i += p.M {
					scores := make([]float64, p.M)
					for k := range scores {
						scores[k] = math.Abs(float64(w[i+k]))
						if norms != nil {
							scores[k] *= norms[(i+k)%cols]
						}
					}
					for _, k := range bySorting(scores, p.M-p.N) {
						want.Set((i+k)/cols, (i+k)%cols, false)
					}
				}
				got, err := b.selected(w, rows, cols, norms, p, PerRow)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, text, err)
				}
				if !got.Equal(want) {
					t.Errorf("%s, %s: another mask than by sorting", name, text)
				}
			}
		}
		if err := errors.Join(b.lane.Stream.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestSelectCounts(t *testing.T) {
	b := newBench(t)
	r := random.New(2, 0, 0, 0)
	const rows, cols = 7, 90
	w := make([]float32, rows*cols)
	for i := range w {
		w[i] = r.Normal()
	}
	for _, c := range []struct {
		pattern string
		g       Granularity
		dropped int
	}{
		{"unstructured:0.7", PerRow, rows * 62}, // int(90·0.7) is 62 in binary
		{"unstructured:0.7", PerMatrix, 441},
		{"unstructured:0", PerRow, 0},
		{"2:4", PerRow, rows * 44},
		{"4:8", PerMatrix, rows * 44},
		{"1:64", PerRow, rows * 63},
		{"44:45", PerRow, rows * 2},
	} {
		p := pattern(t, c.pattern)
		cols := cols
		if p.Structured() {
			cols -= cols % p.M
		}
		m, err := b.selected(w[:rows*cols], rows, cols, ones(cols), p, c.g)
		if err != nil {
			t.Fatal(err)
		}
		if got := rows*cols - m.Count(); got != c.dropped {
			t.Errorf("%s by %v drops %d, want %d", c.pattern, c.g, got, c.dropped)
		}
		if err := m.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestWidthsThatGroupsDoNotDivide(t *testing.T) {
	ctx, b := context.Background(), newBench(t)
	tw := &tower{linear: b.linear("even", 2, 8, make([]float32, 16)), extra: []*model.Linear{b.linear("odd", 2, 10, make([]float32, 20))}}
	for p, want := range map[string]string{"1:2": "", "unstructured:0.3": "", "2:4": "odd: pattern 2:4: width 10, want a multiple of 4", "4:16": "even: pattern 4:16: width 8, want a multiple of 16"} {
		p := pattern(t, p)
		errs := []error{Fits(tw, p)}
		_, err := Compute(ctx, b.lane, tw, Options{Method: Magnitude, Pattern: p})
		errs = append(errs, err)
		if want != "" {
			_, err = Import(ctx, b.lane, tw, ImportOptions{Pattern: &p})
			errs = append(errs, err)
		}
		for _, err := range errs {
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v, want %q", p, err, want)
			}
		}
	}
}

// A job file takes the patterns that are computed with, in the same spelling.
func TestPatternsAreThoseOfTheJobFile(t *testing.T) {
	for _, head := range []string{"", "-", "+", "0", "00", "1", "2", "02", "63", "64", "0x2", "unstructured", "unstructured ", "dense"} {
		for _, tail := range []string{"", "0", "1", "2", "4", "04", "64", "65", "4 ", "0.5", "0.", ".5", "0.0", "-0", "+0.5", "1.0", "5e-1", "0x1p-1", "NaN", "Inf", "0.99999999999999999999", "0.1:4"} {
			text := head + ":" + tail
			j := api.Default()
			j.Prune.Pattern = text
			_, err := sparse.ParsePattern(text)
			if inJob := j.Prune.Validate(); (err == nil) != (inJob == nil) {
				t.Errorf("%q: %v, in a job file %v", text, err, inJob)
			}
		}
	}
}

func TestSelectRefusesWhatHasNoOrder(t *testing.T) {
	b := newBench(t)
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
		for _, p := range []string{"unstructured:0.5", "1:2"} {
			for _, g := range []Granularity{PerRow, PerMatrix} {
				_, err := b.selected([]float32{1, 2, bad, 4, 5, bad}, 3, 2, ones(2), pattern(t, p), g)
				if want := fmt.Sprintf("score of weight (1, 0) is %v, want a finite number", math.Abs(float64(bad))); err == nil || err.Error() != want {
					t.Errorf("%v, %s by %v: %v, want %q", bad, p, g, err, want)
				}
			}
		}
		tw := &tower{linear: b.linear("layer.weight", 1, 2, []float32{1, bad})}
		if _, err := Compute(t.Context(), b.lane, tw, Options{Method: Magnitude, Pattern: pattern(t, "1:2")}); err == nil || !strings.HasPrefix(err.Error(), "prune layer.weight: score of weight (0, 1)") {
			t.Errorf("%v: %v, want an error that names the layer", bad, err)
		}
	}
	// A norm makes a product that a weight alone does not.
	if _, err := b.selected([]float32{1, 1e30}, 1, 2, []float64{1, 1e300}, pattern(t, "1:2"), PerRow); err == nil || !strings.Contains(err.Error(), "(0, 1) is +Inf") {
		t.Errorf("a product that overflows: %v", err)
	}
}
