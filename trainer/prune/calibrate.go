package prune

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"ressa/collective/reduce"
	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
)

// Statistics are the sums over the calibration tokens of one linear's input.
type Statistics struct {
	Name       string    // of the linear's weight
	Rows       int       // tokens, padding not counted
	SumSquares []float64 // by input feature: Σ over tokens of x_j²
}

// Norms returns √(Σ x_j² / Rows) by input feature. A linear that the model does
// not run (what follows the layer whose features are used) has norms of 1.
func (s *Statistics) Norms() []float64 {
	out := make([]float64, len(s.SumSquares))
	for j, v := range s.SumSquares {
		out[j] = 1
		if s.Rows > 0 {
			out[j] = math.Sqrt(v / float64(s.Rows))
		}
	}
	return out
}

// Calibration holds the statistics of the prunable linears of the towers, in
// canonical order, the vision tower first.
type Calibration struct {
	Layers []Statistics
}

// Of returns the statistics of the weight of that name.
func (c *Calibration) Of(name string) (*Statistics, error) {
	if c != nil {
		for i := range c.Layers {
			if c.Layers[i].Name == name {
				return &c.Layers[i], nil
			}
		}
	}
	return nil, fmt.Errorf("prune: no calibration statistics of %s", name)
}

// Batches yields the calibration microbatches 0 … Count-1; Batch is safe for
// concurrent use. How examples are cut into batches belongs to the result, as
// the order of a float64 sum.
type Batches struct {
	Count int
	Batch func(i int) (*data.Batch, error)
}

// Calibrate runs all batches forward through both towers with dense weights, so
// that activations are propagated densely as in the published method (stock Wanda
// propagates through the layers that are pruned already), and sums the squares of
// what enters each prunable linear.
//
// Rows of padding do not count: where a batch is padded, the valid rows of the
// language tower's (B·T, in) inputs are gathered first. In the vision tower every
// row is a patch and counts. Sums are float64, rows ascending within a batch, and
// batches along the fixed tree of package reduce.
//
// vision may be nil for a text-only model. Batches are shared out to the lanes;
// their number does not change a bit.
func Calibrate(ctx context.Context, lanes []*model.Lane, vision, language model.Tower, batches Batches) (*Calibration, error) {
	if len(lanes) == 0 || batches.Count < 1 {
		return nil, fmt.Errorf("prune: calibration needs lanes and batches, got %d and %d", len(lanes), batches.Count)
	}
	sum, err := reduce.New(batches.Count, addSums, nil)
	if err != nil {
		return nil, err
	}
	run := &calibration{towers: []model.Tower{vision, language}}
	if vision == nil {
		run.towers = run.towers[1:]
	}
	run.language = language
	run.index()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	next := make(chan int)
	for _, l := range lanes {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := range next {
				s, err := run.batch(ctx, l, batches, i)
				if err == nil {
					err = sum.Put(reduce.Leaf(i), s)
				}
				if err != nil {
					cancel(fmt.Errorf("prune: calibration batch %d: %w", i, err))
					return
				}
			}
		}()
	}
feed:
	for i := range batches.Count {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wait.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	total, ok := sum.Sum()
	if !ok {
		return nil, fmt.Errorf("prune: calibration ended before all batches were summed")
	}
	return run.result(total)
}

// sums are the statistics of one sub-tree of batches, by position of the linear.
type sums struct {
	rows    []int
	squares [][]float64
}

func addSums(dst, a, b *sums) error {
	for k := range a.squares {
		dst.rows[k] = a.rows[k] + b.rows[k]
		for j := range a.squares[k] {
			dst.squares[k][j] = a.squares[k][j] + b.squares[k][j]
		}
	}
	return nil
}

type calibration struct {
	towers   []model.Tower
	language model.Tower
	linears  []*model.Linear
	position map[*model.Linear]int
}

func (c *calibration) index() {
	c.position = map[*model.Linear]int{}
	for _, t := range c.towers {
		for _, n := range t.Linears() {
			if t.Prunable(n) {
				c.position[n] = len(c.linears)
				c.linears = append(c.linears, n)
			}
		}
	}
}

func (c *calibration) result(s *sums) (*Calibration, error) {
	out := &Calibration{}
	for _, t := range c.towers {
		reached, prunable := 0, 0
		for _, n := range t.Linears() {
			if k, ok := c.position[n]; ok {
				prunable++
				reached += s.rows[k]
			}
		}
		if prunable > 0 && reached == 0 {
			return nil, fmt.Errorf("prune: no calibration batch reached a prunable layer of the tower of %s: is it without images?", t.Linears()[0].Weight.Name)
		}
	}
	for k, n := range c.linears {
		for j, v := range s.squares[k] {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("prune: input %d of %s is not finite in calibration", j, n.Weight.Name)
			}
		}
		out.Layers = append(out.Layers, Statistics{Name: n.Weight.Name, Rows: s.rows[k], SumSquares: s.squares[k]})
	}
	return out, nil
}

// batch runs one batch and returns its sums.
func (c *calibration) batch(ctx context.Context, l *model.Lane, batches Batches, i int) (*sums, error) {
	b, err := batches.Batch(i)
	if err != nil {
		return nil, err
	}
	o := &observation{calibration: c, lane: l, rows: make([]int, len(c.linears)), raw: make([][]byte, len(c.linears))}
	lane := *l
	lane.Observe = o.observe
	var edge model.Edge
	for _, t := range c.towers {
		if t == c.language {
			o.index(b)
		}
		in := edge
		if t != c.language && b.Images == 0 {
			continue
		}
		edge, _ = t.Forward(&lane, b, in, model.Dense, false)
		release(&lane, in)
	}
	release(&lane, edge)
	l.Free(o.valid)
	if err := l.Pool.Err(); err != nil {
		return nil, fmt.Errorf("out of device memory: %w", err)
	}
	if err := l.Stream.Synchronize(ctx); err != nil {
		return nil, err
	}
	return o.sums()
}

func release(l *model.Lane, e model.Edge) {
	for _, t := range e.Tensors {
		l.Free(t.Tensor)
	}
}

// observation collects the sums of squares of one batch.
type observation struct {
	*calibration
	lane  *model.Lane
	valid kernels.Tensor // I32 (1, N): rows that are no padding; absent: all are valid
	full  int            // B·T, 0 before the language tower
	rows  []int
	raw   [][]byte
	err   error
}

// index uploads the valid rows of a padded batch.
func (o *observation) index(b *data.Batch) {
	o.full = b.Sequences * b.Length
	var rows []byte
	for s := range b.Sequences {
		for t := range int(b.Lengths[s]) {
			rows = binary.LittleEndian.AppendUint32(rows, uint32(s*b.Length+t))
		}
	}
	if len(rows) == 4*o.full {
		return
	}
	o.valid = o.lane.Pool.Get(kernels.I32, 1, len(rows)/4)
	o.lane.Stream.Upload(o.valid, rows)
}

func (o *observation) observe(n *model.Linear, x kernels.Tensor) {
	k, ok := o.position[n]
	if !ok {
		return
	}
	if o.raw[k] != nil && o.err == nil {
		o.err = fmt.Errorf("%s ran twice in one batch", n.Weight.Name)
	}
	if o.full > 0 && x.Rows != o.full && o.err == nil {
		o.err = fmt.Errorf("%s got %d rows, want %d", n.Weight.Name, x.Rows, o.full)
	}
	if o.err != nil {
		return
	}
	valid := x
	if !o.valid.IsZero() {
		valid = o.lane.Scratch(o.valid.Cols, x.Cols)
		o.lane.Stream.GatherRows(valid, x, o.valid)
		defer o.lane.Free(valid)
	}
	sum := o.lane.Pool.Get(kernels.F64, 1, x.Cols)
	defer o.lane.Free(sum)
	o.lane.Stream.ColumnSumSquares(sum, valid)
	o.rows[k], o.raw[k] = valid.Rows, make([]byte, 8*x.Cols)
	o.lane.Stream.Download(o.raw[k], sum)
}

// sums decodes what was downloaded; the stream is synchronised.
func (o *observation) sums() (*sums, error) {
	if o.err != nil {
		return nil, o.err
	}
	s := &sums{rows: o.rows, squares: make([][]float64, len(o.raw))}
	for k, raw := range o.raw {
		// A tower that did not run (a batch without images) adds zeros.
		s.squares[k] = make([]float64, o.linears[k].In())
		for j := range len(raw) / 8 {
			s.squares[k][j] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*j:]))
		}
	}
	return s, nil
}
