package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"ressa/kernels/sparse"
	"ressa/trainer/model"
)

// ErrNotPruned is returned for weights that are to be imported but are dense.
var ErrNotPruned = errors.New("the checkpoint is not pruned")

// densest is the share of zeros below which an imported layer counts as dense
// when its tower's pattern is inferred: a few zeros are no pruning.
const densest = 0.05

// inferredStep is the unit of an inferred ratio: published ratios have two
// decimals; three also hold ratios of small rows.
const inferredStep = 0.001

// highestRatio is the highest ratio that is inferred.
const highestRatio = 0.999

// maxExamples bounds the doubtful places that are listed by position.
const maxExamples = 8

// ImportOptions say what is known of a tower that arrives pruned.
type ImportOptions struct {
	// Pattern that the zeros must fulfil; nil infers the tightest.
	Pattern     *sparse.Pattern
	Granularity Granularity // of an unstructured pattern
}

// Doubt tells of zeros in one weight that its pattern does not explain. A kept
// weight that happens to be zero looks like a pruned one; it is dropped with the
// others and cannot be trained, unless the masks are corrected by hand.
type Doubt struct {
	Name string
	// What the zeros are compared with: "group", "row" or "matrix"; "mask" for kept
	// positions that are zero; "dense" for zeros in a layer taken for dense.
	Unit string
	// Zeros is the number of zeros beyond what the pattern drops.
	Zeros int
	// Places are the first of them: row and first column of the unit.
	Places [][2]int
}

// String describes the doubt in one line.
func (d Doubt) String() string {
	switch d.Unit {
	case "mask":
		return fmt.Sprintf("%s: %d kept weights are zero, first at %v", d.Name, d.Zeros, d.Places)
	case "dense":
		return fmt.Sprintf("%s: taken for dense, although %d weights are zero", d.Name, d.Zeros)
	}
	return fmt.Sprintf("%s: %d zeros more than the pattern drops, first in the %s at %v", d.Name, d.Zeros, d.Unit, d.Places)
}

// Imported is what [Import] found in one tower.
type Imported struct {
	Masks   Masks
	Pattern sparse.Pattern // declared or inferred
	Doubts  []Doubt
}

// Import derives the masks of a tower whose checkpoint arrives pruned from its
// zeros of either sign, once; from then on the stored masks count. With a
// declared pattern every prunable linear must fulfil it; else the tightest one
// that all pruned linears share is inferred: an n:m of m ≤ 32 that divides their
// rows and that at least nine of ten groups fill exactly, or an unstructured ratio. Linears with hardly a
// zero get no mask then.
func Import(ctx context.Context, l *model.Lane, tower model.Tower, o ImportOptions) (Imported, error) {
	if o.Pattern != nil {
		if err := Fits(tower, *o.Pattern); err != nil {
			return Imported{}, fmt.Errorf("import %w", err)
		}
	}
	var found []Entry
	for _, n := range tower.Linears() {
		if !tower.Prunable(n) {
			continue
		}
		w, err := weights(ctx, l, n.Weight.Value)
		if err != nil {
			return Imported{}, fmt.Errorf("import %s: %w", n.Weight.Name, err)
		}
		found = append(found, Entry{n.Weight.Name, nonZero(w, n.Out(), n.In())})
	}
	out := Imported{}
	if o.Pattern != nil {
		out.Masks, out.Pattern = found, *o.Pattern
	} else {
		for _, e := range found {
			if zeros := dropped(e.Mask); 1-e.Mask.Density() >= densest {
				out.Masks = append(out.Masks, e)
			} else if zeros > 0 {
				out.Doubts = append(out.Doubts, Doubt{Name: e.Name, Unit: "dense", Zeros: zeros})
			}
		}
		if len(out.Masks) == 0 {
			return Imported{}, fmt.Errorf("import: no linear layer of %d has %.0f %% of zeros: %w", len(found), 100*densest, ErrNotPruned)
		}
		out.Pattern = infer(out.Masks, o.Granularity)
	}
	explained := out.Pattern
	if o.Pattern == nil && !explained.Structured() {
		// An inferred ratio was rounded down; what it lost is no doubt.
		explained.Ratio = min(explained.Ratio+inferredStep, highestRatio)
	}
	for _, e := range out.Masks {
		if err := checkImported(e.Mask, out.Pattern, o.Granularity); err != nil {
			return Imported{}, fmt.Errorf("import %s: %w", e.Name, err)
		}
		if d := excess(e, explained, o.Granularity); d.Zeros > 0 {
			out.Doubts = append(out.Doubts, d)
		}
	}
	return out, nil
}

// Verify compares weights with masks that came with them: a weight that is
// masked but not zero is an error, a kept one that is zero is reported.
func Verify(ctx context.Context, l *model.Lane, tower model.Tower, masks Masks) ([]Doubt, error) {
	var doubts []Doubt
	byName := masks.index()
	for _, n := range tower.Linears() {
		mask, ok := byName[n.Weight.Name]
		if !ok {
			continue
		}
		if mask.Rows != n.Out() || mask.Cols != n.In() {
			return nil, fmt.Errorf("mask of %s is (%d, %d), the weight (%d, %d)", n.Weight.Name, mask.Rows, mask.Cols, n.Out(), n.In())
		}
		w, err := weights(ctx, l, n.Weight.Value)
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", n.Weight.Name, err)
		}
		d := Doubt{Name: n.Weight.Name, Unit: "mask"}
		for i, v := range w {
			r, c := i/n.In(), i%n.In()
			switch kept := mask.Get(r, c); {
			case !kept && v != 0:
				return nil, fmt.Errorf("%s is %v at (%d, %d), where its mask prunes it", n.Weight.Name, v, r, c)
			case kept && v == 0:
				d.note(r, c, 1)
			}
		}
		if d.Zeros > 0 {
			doubts = append(doubts, d)
		}
	}
	return doubts, nil
}

func nonZero(w []float32, rows, cols int) sparse.Mask {
	mask := sparse.New(rows, cols)
	for i, v := range w {
		if v != 0 {
			mask.Set(i/cols, i%cols, true)
		}
	}
	return mask
}

func dropped(m sparse.Mask) int { return m.Rows*m.Cols - m.Count() }

func (d *Doubt) note(row, column, zeros int) {
	d.Zeros += zeros
	if len(d.Places) < maxExamples {
		d.Places = append(d.Places, [2]int{row, column})
	}
}

// checkImported holds a mask to its pattern, each row for itself where rows are
// what is compared.
func checkImported(m sparse.Mask, p sparse.Pattern, g Granularity) error {
	if err := p.Check(m); err != nil || p.Structured() {
		return err
	}
	if g == PerMatrix {
		if got, want := dropped(m), p.Drop(m.Rows*m.Cols); got < want {
			return fmt.Errorf("pattern %v: found %d zeros in the matrix, want at least %d", p, got, want)
		}
		return nil
	}
	for r := range m.Rows {
		if got, want := m.Cols-m.CountRow(r), p.Drop(m.Cols); got < want {
			return fmt.Errorf("pattern %v: found %d zeros in row %d, want at least %d", p, got, r, want)
		}
	}
	return nil
}

// excess lists where a mask drops more than its pattern.
func excess(e Entry, p sparse.Pattern, g Granularity) Doubt {
	d, m := Doubt{Name: e.Name}, e.Mask
	switch {
	case p.Structured():
		d.Unit = "group"
		eachGroup(m, p.M, func(r, c, kept int) {
			if more := p.N - kept; more > 0 {
				d.note(r, c, more)
			}
		})
	case g == PerMatrix:
		d.Unit = "matrix"
		if more := dropped(m) - p.Drop(m.Rows*m.Cols); more > 0 {
			d.note(0, 0, more)
		}
	default:
		d.Unit = "row"
		for r := range m.Rows {
			if more := m.Cols - m.CountRow(r) - p.Drop(m.Cols); more > 0 {
				d.note(r, 0, more)
			}
		}
	}
	return d
}

// eachGroup calls f with the first position and the kept weights of every group of
// a mask, whose rows the size divides.
func eachGroup(m sparse.Mask, size int, f func(row, col, kept int)) {
	for r := range m.Rows {
		words := m.Row(r)
		for c := 0; c < m.Cols; c += size {
			kept := 0
			for i := c; i < c+size; i++ {
				kept += int(words[i/64] >> (i % 64) & 1)
			}
			f(r, c, kept)
		}
	}
}

// infer returns the tightest pattern that all masks fulfil.
func infer(masks Masks, g Granularity) sparse.Pattern {
	best := sparse.Pattern{}
	for _, m := range []int{2, 4, 8, 16, 32} {
		if slices.ContainsFunc(masks, func(e Entry) bool { return e.Mask.Cols%m != 0 }) {
			break // nor do its multiples divide
		}
		n, full, groups := 0, 0, 0
		for _, e := range masks {
			eachGroup(e.Mask, m, func(_, _, kept int) {
				groups++
				if kept > n {
					n, full = kept, 0
				}
				if kept == n {
					full++
				}
			})
		}
		p := sparse.Pattern{N: n, M: m}
		if n < 1 || n >= m || 10*full < 9*groups {
			continue
		}
		if !best.Structured() || p.Sparsity() > best.Sparsity() {
			best = p
		}
	}
	if best.Structured() {
		return best
	}
	ratio := 1.0
	for _, e := range masks {
		if g == PerMatrix {
			ratio = min(ratio, 1-e.Mask.Density())
			continue
		}
		for r := range e.Mask.Rows {
			ratio = min(ratio, 1-float64(e.Mask.CountRow(r))/float64(e.Mask.Cols))
		}
	}
	ratio = math.Floor(ratio/inferredStep+1e-9) * inferredStep
	return sparse.Pattern{Ratio: min(math.Round(ratio*1000)/1000, highestRatio)}
}
