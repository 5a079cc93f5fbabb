package data

import (
	"slices"
	"testing"
)

func TestEveryExampleOncePerEpoch(t *testing.T) {
	for _, c := range []struct{ n, batch int }{{1, 1}, {1, 3}, {2, 1}, {3, 2}, {7, 7}, {10, 4}, {64, 16}, {65, 5}, {1000, 32}, {4097, 64}} {
		const epochs = 3
		var got []int
		for step := 0; len(got) < epochs*c.n; step++ {
			got = append(got, Order(42, step, c.batch, c.n)...)
		}
		for e := range epochs {
			epoch := slices.Sorted(slices.Values(got[e*c.n : (e+1)*c.n]))
			for i, v := range epoch {
				if i != v {
					t.Fatalf("n %d, batch %d, epoch %d: place %d of the sorted epoch holds %d", c.n, c.batch, e, i, v)
				}
			}
		}
	}
}

func TestOrderDependsOnSeedAndEpochOnly(t *testing.T) {
	const n = 500
	a := Order(1, 0, n, n)
	if !slices.Equal(a, Order(1, 0, n, n)) {
		t.Error("not a function")
	}
	if slices.Equal(a, Order(2, 0, n, n)) || slices.Equal(a, Order(1, 1, n, n)) || slices.IsSorted(a) {
		t.Error("seed or epoch does not change the order")
	}
	var small []int // another batch size walks the same sequence
	for step := range n / 20 {
		small = append(small, Order(1, step, 20, n)...)
	}
	if !slices.Equal(a, small) {
		t.Error("the sequence depends on the batch size")
	}
}

// The order over a data set must not move between versions: it is part of the
// result of a job.
func TestOrderIsPinned(t *testing.T) {
	want := []int{522, 374, 368, 19, 118, 585, 994, 636}
	if got := Order(7, 3, 8, 1000); !slices.Equal(got, want) {
		t.Errorf("Order(7, 3, 8, 1000) = %v, want %v", got, want)
	}
}

// A permutation that is close to uniform has about one fixed point, and its
// first element falls anywhere.
func TestOrderLooksUniform(t *testing.T) {
	const n, seeds = 100, 2000
	fixed, sum := 0, 0
	for seed := range uint64(seeds) {
		p := Order(seed, 0, n, n)
		for i, v := range p {
			if i == v {
				fixed++
			}
		}
		sum += p[0]
	}
	if mean := float64(fixed) / seeds; mean < 0.85 || mean > 1.15 {
		t.Errorf("%v fixed points on average, want 1", mean)
	}
	if mean := float64(sum) / seeds; mean < 46 || mean > 53 {
		t.Errorf("the first element is %v on average, want 49.5", mean)
	}
}
