package prune

import (
	"fmt"
	"math"
)

// Granularity says among which weights an unstructured pattern compares scores.
type Granularity uint8

const (
	// PerRow prunes the same number of weights in every output row.
	PerRow Granularity = iota
	// PerMatrix prunes by one threshold for the whole matrix.
	PerMatrix
)

// String returns the name used in reports.
func (g Granularity) String() string {
	if g == PerMatrix {
		return "matrix"
	}
	return "row"
}

// lowest calls drop for the k lowest of scores in ascending index. Among equal
// scores the lower index is dropped first, as a stable ascending sort would.
// Scores are not negative and not NaN; scratch is reused between calls.
func lowest(scores []float64, k int, scratch []uint64, drop func(i int)) {
	if k <= 0 {
		return
	}
	if k >= len(scores) {
		for i := range scores {
			drop(i)
		}
		return
	}
	threshold, equal := kth(scores, k, scratch)
	for i, s := range scores {
		switch b := math.Float64bits(s); {
		case b < threshold:
			drop(i)
		case b == threshold && equal > 0:
			drop(i)
			equal--
		}
	}
}

// kth returns the bits of the k-th lowest score, 1 ≤ k ≤ len(scores), and how many
// scores equal to it belong to the k lowest. Bits of non-negative floats are
// ordered as the floats, so that a radix selection from the top byte finds it in
// linear time.
func kth(scores []float64, k int, scratch []uint64) (threshold uint64, equal int) {
	left := scratch[:len(scores)]
	for i, s := range scores {
		left[i] = math.Float64bits(s)
	}
	for shift := 56; shift >= 0; shift -= 8 {
		var count [256]int
		for _, b := range left {
			count[b>>shift&255]++
		}
		digit := 0
		for k > count[digit] {
			k -= count[digit]
			digit++
		}
		n := 0
		for _, b := range left {
			if b>>shift&255 == uint64(digit) {
				left[n] = b
				n++
			}
		}
		left = left[:n]
	}
	return left[0], k
}

// checkScores refuses scores that cannot be ordered.
func checkScores(scores []float64, cols int) error {
	for i, s := range scores {
		if !(s >= 0) || math.IsInf(s, 0) {
			return fmt.Errorf("score of weight (%d, %d) is %v, want a finite number", i/cols, i%cols, s)
		}
	}
	return nil
}
