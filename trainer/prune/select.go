package prune

import (
	"fmt"
	"math"
	"runtime"

	"golang.org/x/sync/errgroup"

	"ressa/kernels/sparse"
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

// Select returns the mask of one weight (rows, cols), row-major, under a pattern:
// the weights with the lowest scores |w|·norms[column] go, among equal ones the
// lower index first. n:m wants rows that it divides (see [Fits]). Weights and norms
// must be finite. Rows are shared out to all processors, which shows in nothing
// but time.
func Select(w []float32, rows, cols int, norms []float64, p sparse.Pattern, g Granularity) (sparse.Mask, error) {
	if err := p.Fits(cols); err != nil {
		return sparse.Mask{}, err
	}
	mask := sparse.NewOnes(rows, cols)
	if !p.Structured() && g == PerMatrix {
		scores := make([]float64, rows*cols)
		score(scores, w, norms)
		if err := checkScores(scores, 0, cols); err != nil {
			return sparse.Mask{}, err
		}
		lowest(scores, p.Drop(rows*cols), make([]uint64, rows*cols), func(i int) { mask.Set(i/cols, i%cols, false) })
		return mask, nil
	}
	workers := runtime.GOMAXPROCS(0)
	var group errgroup.Group
	for k := range workers {
		// Workers write different rows, and a mask's rows share no word.
		lo, hi := rows*k/workers, rows*(k+1)/workers
		group.Go(func() error {
			scores, scratch := make([]float64, cols), make([]uint64, cols)
			for r := lo; r < hi; r++ {
				score(scores, w[r*cols:(r+1)*cols], norms)
				if err := checkScores(scores, r, cols); err != nil {
					return err
				}
				if !p.Structured() {
					lowest(scores, p.Drop(cols), scratch, func(c int) { mask.Set(r, c, false) })
					continue
				}
				for c := 0; c < cols; c += p.M {
					lowestFew(scores[c:c+p.M], p.Drop(p.M), func(i int) { mask.Set(r, c+i, false) })
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return sparse.Mask{}, err
	}
	return mask, nil
}

// lowestFew does what lowest does for a handful of scores.
func lowestFew(scores []float64, k int, drop func(i int)) {
	var dropped uint64 // a group has at most 64
	for range k {
		least := -1
		for i, s := range scores {
			if dropped>>i&1 == 0 && (least < 0 || s < scores[least]) {
				least = i
			}
		}
		dropped |= 1 << least
		drop(least)
	}
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

// checkScores refuses scores that cannot be ordered. The first one stands in row.
func checkScores(scores []float64, row, cols int) error {
	for i, s := range scores {
		if !(s >= 0) || math.IsInf(s, 0) {
			return fmt.Errorf("score of weight (%d, %d) is %v, want a finite number", row+i/cols, i%cols, s)
		}
	}
	return nil
}
