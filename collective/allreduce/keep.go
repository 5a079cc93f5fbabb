package allreduce

import (
	"fmt"
	"math/bits"

	"ressa/kernels/sparse"
)

// Keep says which positions of a vector are summed and travel: one bit each. All
// members of a reduction must have equal ones.
type Keep struct {
	n     int
	words []uint64 // bit i%64 of word i/64
}

// NewKeep returns a mask over n positions that keeps none.
func NewKeep(n int) *Keep { return &Keep{n: n, words: make([]uint64, (n+63)/64)} }

// Range keeps the positions lo to hi-1.
func (k *Keep) Range(lo, hi int) error {
	if lo < 0 || hi < lo || hi > k.n {
		return fmt.Errorf("allreduce: keep [%d,%d) of %d positions", lo, hi, k.n)
	}
	for i := lo; i < hi; {
		n := min(64-i%64, hi-i)
		k.words[i/64] |= ^uint64(0) >> (64 - n) << (i % 64)
		i += n
	}
	return nil
}

// Mask keeps what m keeps of the row-major matrix that begins at position lo.
func (k *Keep) Mask(lo int, m sparse.Mask) error {
	if lo < 0 || lo > k.n || m.Rows*m.Cols > k.n-lo {
		return fmt.Errorf("allreduce: keep a mask of (%d, %d) at %d of %d positions", m.Rows, m.Cols, lo, k.n)
	}
	for r := range m.Rows {
		at := lo + r*m.Cols
		for i, w := range m.Row(r) {
			p := at + 64*i
			k.words[p/64] |= w << (p % 64)
			if spill := w >> (64 - p%64); spill != 0 { // a shift by 64 gives 0
				k.words[p/64+1] |= spill
			}
		}
	}
	return nil
}

// Len returns the number of positions.
func (k *Keep) Len() int { return k.n }

// Count returns how many positions are kept.
func (k *Keep) Count() int {
	n := 0
	for _, w := range k.words {
		n += bits.OnesCount64(w)
	}
	return n
}
