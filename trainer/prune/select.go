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

// selectShare returns the mask of one weight (rows, cols), row-major, under an
// unstructured pattern: the weights with the lowest scores |w|·norms[column] go, among
// equal ones the lower index first. Weights and norms must be finite. It computes on
// the host, since what is compared is a whole row or matrix: an order of all of it,
// not of the few columns that [selectGroups] compares on the device. Rows are shared
// out to all processors, which shows in nothing but time.
func selectShare(w []float32, rows, cols int, norms []float64, p sparse.Pattern, g Granularity) (sparse.Mask, error) {
	mask := sparse.NewOnes(rows, cols)
	if g == PerMatrix {
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
				lowest(scores, p.Drop(cols), scratch, func(c int) { mask.Set(r, c, false) })
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return sparse.Mask{}, err
	}
	return mask, nil
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
			return noOrder(row+i/cols, i%cols, s)
		}
	}
	return nil
}

func noOrder(row, col int, score float64) error {
	return fmt.Errorf("score of weight (%d, %d) is %v, want a finite number", row, col, score)
}
