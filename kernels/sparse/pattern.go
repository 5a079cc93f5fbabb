package sparse

import (
	"fmt"
	"strconv"
	"strings"
)

// maxGroup bounds m of n:m.
const maxGroup = 64

// Pattern is how sparse a mask must be. With M > 0 it is n:m: of every M
// consecutive inputs of a row, starting at column 0, at most N are kept; M
// divides the inputs, as what computes with packed groups wants it (see Fits). With
// M = 0 it is unstructured: the share Ratio is dropped, wherever it lies.
type Pattern struct {
	Ratio float64 // dropped share, 0 ≤ Ratio < 1; unstructured only
	N, M  int     // 1 ≤ N < M ≤ 64, or both 0
}

// ParsePattern reads "unstructured:RATIO" or "N:M" in the one spelling that each
// has: a ratio is 0 or a decimal fraction 0.…, N and M are integers without sign
// and leading zeros.
func ParsePattern(s string) (Pattern, error) {
	head, tail, ok := strings.Cut(s, ":")
	if !ok {
		return Pattern{}, fmt.Errorf("pattern %q, want unstructured:RATIO or N:M", s)
	}
	if head == "unstructured" {
		ratio, err := strconv.ParseFloat(tail, 64)
		if fraction, after := strings.CutPrefix(tail, "0."); err != nil || !(ratio >= 0 && ratio < 1) || tail != "0" && !(after && digits(fraction)) {
			return Pattern{}, fmt.Errorf("pattern %q: ratio is %q, want a decimal fraction from 0 to less than 1", s, tail)
		}
		return Pattern{Ratio: ratio}, nil
	}
	n, errN := strconv.Atoi(head)
	m, errM := strconv.Atoi(tail)
	p := Pattern{N: n, M: m}
	if errN != nil || errM != nil || m == 0 || p.String() != s || p.Validate() != nil {
		return Pattern{}, fmt.Errorf("pattern %q, want N:M with plain integers 1 ≤ N < M ≤ %d", s, maxGroup)
	}
	return p, nil
}

// digits reports whether s is digits and nothing else.
func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// Validate returns an error when the fields are out of range.
func (p Pattern) Validate() error {
	switch {
	case p.M == 0 && p.N == 0:
		if !(p.Ratio >= 0 && p.Ratio < 1) {
			return fmt.Errorf("pattern: ratio is %v, want a number from 0 to less than 1", p.Ratio)
		}
	case p.N < 1 || p.M <= p.N || p.M > maxGroup:
		return fmt.Errorf("pattern: %d:%d, want 1 ≤ N < M ≤ %d", p.N, p.M, maxGroup)
	case p.Ratio != 0:
		return fmt.Errorf("pattern: %d:%d with ratio %v, want one of them", p.N, p.M, p.Ratio)
	}
	return nil
}

// Structured reports whether the pattern is n:m.
func (p Pattern) Structured() bool { return p.M > 0 }

// String returns what [ParsePattern] reads.
func (p Pattern) String() string {
	if p.Structured() {
		return fmt.Sprintf("%d:%d", p.N, p.M)
	}
	return "unstructured:" + strconv.FormatFloat(p.Ratio, 'f', -1, 64)
}

// Sparsity returns the share that the pattern drops.
func (p Pattern) Sparsity() float64 {
	if p.Structured() {
		return float64(p.M-p.N) / float64(p.M)
	}
	return p.Ratio
}

// Drop returns how many of n weights that are compared with each other are
// dropped: for n:m those of one group, else those of a row or of a whole matrix.
func (p Pattern) Drop(n int) int {
	if p.Structured() {
		return max(0, n-p.N)
	}
	return int(float64(n) * p.Ratio)
}

// Fits returns an error when rows of that many inputs cannot be cut into the
// groups of p.
func (p Pattern) Fits(cols int) error {
	if p.Structured() && cols%p.M != 0 {
		return fmt.Errorf("pattern %v: width %d, want a multiple of %d", p, cols, p.M)
	}
	return nil
}

// Random returns a mask that drops the same number in every row, or group of a row,
// whose width p fits. below returns a random number from 0 to n-1.
func (p Pattern) Random(rows, cols int, below func(n int) int) Mask {
	m := New(rows, cols)
	width := cols
	if p.Structured() {
		width = p.M
	}
	order := make([]int, width)
	for row := range rows {
		for lo := 0; lo < cols; lo += width {
			for i := range order {
				order[i] = i
			}
			for i := range width - p.Drop(width) { // Fisher and Yates, as far as needed
				j := i + below(width-i)
				order[i], order[j] = order[j], order[i]
				m.Set(row, lo+order[i], true)
			}
		}
	}
	return m
}

// Check returns an error when m does not fulfil p or has a width that p does not
// fit. For n:m it names the first group that keeps too many. An unstructured mask must drop at least what is
// dropped when each row is pruned on its own; which weights is free.
func (p Pattern) Check(m Mask) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if err := m.Validate(); err != nil {
		return err
	}
	if err := p.Fits(m.Cols); err != nil {
		return err
	}
	if !p.Structured() {
		dropped, want := m.Rows*m.Cols-m.Count(), m.Rows*p.Drop(m.Cols)
		if dropped < want {
			return fmt.Errorf("pattern %v: mask of (%d, %d) drops %d weights, want at least %d", p, m.Rows, m.Cols, dropped, want)
		}
		return nil
	}
	for r := range m.Rows {
		for lo := 0; lo < m.Cols; lo += p.M {
			kept := 0
			for c := lo; c < lo+p.M; c++ {
				if m.Get(r, c) {
					kept++
				}
			}
			if kept > p.N {
				return fmt.Errorf("pattern %v: row %d keeps %d weights in columns %d to %d, want at most %d", p, r, kept, lo, lo+p.M-1, p.N)
			}
		}
	}
	return nil
}
