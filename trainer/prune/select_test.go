package prune

import (
	"math"
	"slices"
	"testing"

	"ressa/kernels/sparse"
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
		{"2:4", PerRow, rows * 44}, // the last two columns are a group of two
		{"4:8", PerMatrix, rows * 44},
		{"1:64", PerRow, rows * (63 + 25)},
	} {
		m, err := Select(w, rows, cols, ones(cols), pattern(t, c.pattern), c.g)
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

func TestSelectRefusesWhatHasNoOrder(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
		for _, g := range []Granularity{PerRow, PerMatrix} {
			if _, err := Select([]float32{1, 2, bad, 4}, 2, 2, ones(2), sparse.Pattern{Ratio: 0.5}, g); err == nil || err.Error() == "" {
				t.Errorf("%v by %v: no error", bad, g)
			}
		}
	}
}
