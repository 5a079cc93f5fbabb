package prune

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"ressa/coordinator/api"
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
		var got, few []int
		lowest(scores, k, make([]uint64, n), func(i int) { got = append(got, i) })
		want := bySorting(scores, k)
		if !slices.Equal(got, want) {
			t.Fatalf("lowest %d of %v: %v, want %v", k, scores, got, want)
		}
		if n <= 64 {
			lowestFew(scores, k, func(i int) { few = append(few, i) })
			slices.Sort(few)
			if !slices.Equal(few, want) {
				t.Fatalf("lowestFew %d of %v: %v, want %v", k, scores, few, want)
			}
		}
	}
}

func TestSelectCounts(t *testing.T) {
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
		m, err := Select(w[:rows*cols], rows, cols, ones(cols), p, c.g)
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
	if _, err := Select(make([]float32, 6), 1, 6, ones(6), pattern(t, "2:4"), PerRow); err == nil || !strings.Contains(err.Error(), "width 6") {
		t.Errorf("a row of 6 in groups of 4: %v", err)
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
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
		for _, g := range []Granularity{PerRow, PerMatrix} {
			if _, err := Select([]float32{1, 2, bad, 4}, 2, 2, ones(2), sparse.Pattern{Ratio: 0.5}, g); err == nil || err.Error() == "" {
				t.Errorf("%v by %v: no error", bad, g)
			}
		}
	}
}
