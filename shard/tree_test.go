package shard

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The table is what reduce.Cover of package collective/reduce counts.
func TestPartsAreThoseOfTheReduction(t *testing.T) {
	for _, c := range [][4]int{
		{8, 0, 8, 1}, {8, 0, 4, 1}, {8, 4, 8, 1}, {8, 0, 3, 2}, {8, 3, 6, 2}, {8, 6, 8, 1}, {8, 1, 7, 4}, {8, 5, 6, 1},
		{7, 0, 7, 1}, {7, 4, 7, 1}, {7, 4, 6, 1}, {7, 5, 7, 2}, {6, 2, 6, 2}, {6, 4, 6, 1}, {12, 0, 6, 2}, {12, 6, 12, 2},
		{12, 4, 8, 1}, {12, 8, 12, 1}, {100, 0, 34, 2}, {100, 34, 67, 6}, {100, 67, 100, 5}, {1, 0, 1, 1}, {5, 3, 5, 2},
		{33, 31, 33, 2}, {16, 3, 13, 4},
	} {
		if got := parts(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("leaves [%d,%d) of %d form %d sub-trees, want %d", c[1], c[2], c[0], got, c[3])
		}
	}
}

func TestSumsOfAFinishedRangeAreItsParts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for n := 1; n <= 40; n++ {
		lo := r.IntN(n)
		hi := lo + 1 + r.IntN(n-lo)
		var leaves []int
		for l := lo; l < hi; l++ {
			leaves = append(leaves, l)
		}
		ascending := mostHeld(n, leaves)
		if want := parts(n, lo, hi); ascending < want {
			t.Errorf("leaves [%d,%d) of %d: %d sums held at most, %d at the end", lo, hi, n, ascending, want)
		}
		r.Shuffle(len(leaves), func(i, j int) { leaves[i], leaves[j] = leaves[j], leaves[i] })
		if held := mostHeld(n, leaves); held < parts(n, lo, hi) || held > len(leaves) {
			t.Errorf("leaves %v of %d: %d sums held at most", leaves, n, held)
		}
	}
	for _, c := range []struct {
		leaves []int
		want   int
	}{{[]int{0, 1, 2, 3, 4, 5, 6, 7}, 3}, {[]int{0, 4, 1, 5, 2, 6, 3, 7}, 4}, {[]int{0, 2, 4, 6, 1, 3, 5, 7}, 4}} {
		if got := mostHeld(8, c.leaves); got != c.want {
			t.Errorf("%v: %d sums held at most, want %d", c.leaves, got, c.want)
		}
	}
}

// TestApportion compares with all ways to share few microbatches.
func TestApportion(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 21))
	for range 300 {
		workers := 1 + r.IntN(4)
		n := workers + r.IntN(9)
		weights := make([]float64, workers)
		for i := range weights {
			weights[i] = 1
			if r.IntN(2) == 0 {
				weights[i] = 0.2 + 4*r.Float64()
			}
		}
		got := apportion(n, weights)
		worst := func(counts []int) (most float64) {
			for i, c := range counts {
				most = max(most, float64(c)/weights[i])
			}
			return most
		}
		sum := 0
		for _, c := range got {
			sum += c
		}
		if sum != n || slices.Min(got) < 1 {
			t.Fatalf("%d over %v: %v", n, weights, got)
		}
		least := worst(got)
		each(n, workers, func(counts []int) { least = min(least, worst(counts)) })
		if worst(got) > least*(1+1e-9) {
			t.Fatalf("%d over %v: %v takes %v, the best %v", n, weights, got, worst(got), least)
		}
		counts, _ := proportional(n, weights)
		if a, b := allParts(n, got), allParts(n, counts); a > b {
			t.Errorf("%d over %v: %v forms %d sub-trees, %v forms %d", n, weights, got, a, counts, b)
		}
	}
}

// each calls f with every way to share n things among workers, at least one each.
func each(n, workers int, f func([]int)) {
	counts := make([]int, workers)
	var fill func(i, left int)
	fill = func(i, left int) {
		if i == workers-1 {
			counts[i] = left
			f(counts)
			return
		}
		for c := 1; c <= left-(workers-1-i); c++ {
			counts[i] = c
			fill(i+1, left-c)
		}
	}
	fill(0, n)
}

func allParts(n int, counts []int) (all int) {
	for _, x := range spans(counts) {
		all += parts(n, x.lo, x.hi)
	}
	return all
}

func TestApportionPrefersWholeSubtrees(t *testing.T) {
	for _, c := range []struct {
		n       int
		weights []float64
		want    []int
	}{
		{8, []float64{1, 1}, []int{4, 4}},
		{8, []float64{1, 1, 1}, []int{3, 3, 2}},
		{10, []float64{1, 1, 1}, []int{4, 4, 2}}, // not 4, 3, 3: two sub-trees fewer
		{6, []float64{1, 1}, []int{3, 3}},
		{12, []float64{2, 1}, []int{8, 4}},
		{3, []float64{1, 1, 1}, []int{1, 1, 1}},
		{4, []float64{100, 1, 1}, []int{2, 1, 1}},
		{1 << 20, []float64{3, 1}, []int{3 << 18, 1 << 18}},
	} {
		if got := apportion(c.n, c.weights); !slices.Equal(got, c.want) {
			t.Errorf("%d over %v: %v, want %v", c.n, c.weights, got, c.want)
		}
	}
}

// TestBalance compares with all ways to cut.
func TestBalance(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 21))
	for range 200 {
		runs := 1 + r.IntN(4)
		n := runs + r.IntN(7)
		cost, speed, room := make([]float64, n), make([]float64, runs), make([]float64, runs)
		for i := range cost {
			cost[i] = r.Float64()
		}
		for g := range speed {
			speed[g], room[g] = 0.5+r.Float64(), 4*r.Float64()
		}
		measure := func(g, from, to int) float64 {
			var sum float64
			for _, c := range cost[from:to] {
				sum += c
			}
			if sum > room[g] {
				return math.Inf(1)
			}
			return sum / speed[g]
		}
		least := math.Inf(1)
		worst := func(counts []int) (most float64) {
			from := 0
			for g, c := range counts {
				most = max(most, measure(g, from, from+c))
				from += c
			}
			return most
		}
		each(n, runs, func(counts []int) { least = min(least, worst(counts)) })
		ends := balance(n, runs, measure)
		if ends == nil {
			if least < 1e300 {
				t.Fatalf("no cut found, the best has %v", least)
			}
			continue
		}
		counts, from := make([]int, runs), 0
		for g, to := range ends {
			counts[g], from = to-from, to
		}
		if from != n || worst(counts) > least*(1+1e-9) {
			t.Errorf("cut at %v of %d: %v, the best %v", ends, n, worst(counts), least)
		}
	}
}
