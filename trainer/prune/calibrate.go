package prune

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"fmt"
	"math"

	"ressa/collective/reduce"
	"ressa/kernels"
	"ressa/shard"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/team"
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

// Model is what is calibrated: the stages of the team's plan, nil where this
// worker does not hold them.
type Model struct {
	Team   *team.Team
	Stages []model.Tower
}

// Calibrate runs all batches forward through the stages with dense weights, so
// that activations are propagated densely as in the published method (stock Wanda
// propagates through the layers that are pruned already), and sums the squares of
// what enters each prunable linear. Each worker gets the statistics of the stages
// that it holds.
//
// Rows of padding do not count: where a batch is padded, the valid rows of the
// language tower's (B·T, in) inputs are gathered first. In the vision tower every
// row is a patch and counts. Sums are float64, rows ascending within a batch, and
// batches along the fixed tree of package reduce.
//
// lanes are by lane and stage. Batches are shared out to the workers and their
// lanes; neither number changes a bit.
func Calibrate(ctx context.Context, m Model, lanes [][]*model.Lane, batches Batches) (*Calibration, error) {
	if len(lanes) == 0 || batches.Count < 1 {
		return nil, fmt.Errorf("prune: calibration needs lanes and batches, got %d and %d", len(lanes), batches.Count)
	}
	c := &calibration{Model: m, batches: batches, number: m.Team.Number(1)}
	if err := c.open(); err != nil {
		return nil, err
	}
	err := m.Team.Run(ctx, len(lanes), batches.Count, func(ctx context.Context, lane, i int) error {
		if err := c.batch(ctx, lanes[lane], i); err != nil {
			return fmt.Errorf("prune: calibration batch %d: %w", i, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := c.join(ctx); err != nil {
		return nil, fmt.Errorf("prune: calibration: %w", err)
	}
	return c.result()
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

// stage is the statistics of one stage that is held.
type stage struct {
	linears  []*model.Linear // prunable ones
	position map[*model.Linear]int
	sum      *reduce.Accumulator[*sums]
}

type calibration struct {
	Model
	batches Batches
	number  int
	stages  []*stage // nil where it is not held
}

func (c *calibration) open() error {
	for _, t := range c.Stages {
		if t == nil {
			c.stages = append(c.stages, nil)
			continue
		}
		s := &stage{position: map[*model.Linear]int{}}
		for _, n := range t.Linears() {
			if t.Prunable(n) {
				s.position[n] = len(s.linears)
				s.linears = append(s.linears, n)
			}
		}
		var err error
		if s.sum, err = reduce.New(c.batches.Count, addSums, nil); err != nil {
			return err
		}
		c.stages = append(c.stages, s)
	}
	return nil
}

// part is the sum of a sub-tree of batches in one stage, on its way.
type part struct {
	Stage, Lo, Hi int
	Rows          []int
	Squares       [][]float64
}

// join completes the sums of the stages that are held by those of other workers.
func (c *calibration) join(ctx context.Context) error {
	if c.Team.Alone() {
		return nil
	}
	var mine []part
	for i, s := range c.stages {
		if s == nil {
			continue
		}
		for _, p := range s.sum.Take() {
			mine = append(mine, part{i, p.Lo, p.Hi, p.Value.rows, p.Value.squares})
		}
		var err error
		if s.sum, err = reduce.New(c.batches.Count, addSums, nil); err != nil { // for all workers' sums
			return err
		}
	}
	var said bytes.Buffer
	if err := gob.NewEncoder(&said).Encode(mine); err != nil {
		return err
	}
	all, err := c.Team.Gather(ctx, "calibration", said.Bytes())
	if err != nil {
		return err
	}
	for w, raw := range all {
		var parts []part
		if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&parts); err != nil {
			return fmt.Errorf("sums of worker %d: %w", w, err)
		}
		for _, p := range parts {
			if err := c.put(p); err != nil {
				return fmt.Errorf("sums of worker %d: %w", w, err)
			}
		}
	}
	return nil
}

func (c *calibration) put(p part) error {
	if p.Stage < 0 || p.Stage >= len(c.stages) {
		return fmt.Errorf("stage %d of %d", p.Stage, len(c.stages))
	}
	s := c.stages[p.Stage]
	if s == nil {
		return nil
	}
	if len(p.Rows) != len(s.linears) || len(p.Squares) != len(s.linears) {
		return fmt.Errorf("%d layers in stage %d, want %d", len(p.Rows), p.Stage, len(s.linears))
	}
	for k, n := range s.linears {
		if len(p.Squares[k]) != n.In() {
			return fmt.Errorf("%s has %d inputs, want %d", n.Weight.Name, len(p.Squares[k]), n.In())
		}
	}
	return s.sum.Put(reduce.Subtree{Lo: p.Lo, Hi: p.Hi}, &sums{p.Rows, p.Squares})
}

func (c *calibration) result() (*Calibration, error) {
	out := &Calibration{}
	for _, s := range c.stages {
		if s == nil || len(s.linears) == 0 {
			continue
		}
		total, ok := s.sum.Sum()
		if !ok {
			return nil, fmt.Errorf("prune: calibration ended before all batches were summed")
		}
		reached := 0
		for _, rows := range total.rows {
			reached += rows
		}
		if reached == 0 {
			return nil, fmt.Errorf("prune: no calibration batch reached a prunable layer of the tower of %s: is it without images?", s.linears[0].Weight.Name)
		}
		for k, n := range s.linears {
			for j, v := range total.squares[k] {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return nil, fmt.Errorf("prune: input %d of %s is not finite in calibration", j, n.Weight.Name)
				}
			}
			out.Layers = append(out.Layers, Statistics{Name: n.Weight.Name, Rows: total.rows[k], SumSquares: total.squares[k]})
		}
	}
	return out, nil
}

// batch runs one batch through the stages that are this worker's and puts what
// was observed into their sums.
func (c *calibration) batch(ctx context.Context, lanes []*model.Lane, i int) error {
	b, err := c.batches.Batch(i)
	if err != nil {
		return err
	}
	seen := make([]*observation, len(c.stages))
	var used *model.Lane
	out, err := c.Team.Forward(ctx, lanes, c.number, i, 0, func(k int, in model.Edge) (model.Edge, error) {
		o := &observation{stage: c.stages[k], lane: lanes[k], rows: make([]int, len(c.stages[k].linears)), raw: make([][]byte, len(c.stages[k].linears))}
		seen[k], used = o, lanes[k]
		if c.Team.Plan().Stages[k].Tower == shard.Vision {
			if b.Images == 0 {
				return model.Edge{}, nil
			}
		} else {
			o.index(b)
		}
		lane := *lanes[k]
		lane.Observe = o.observe
		edge, _ := c.Stages[k].Forward(&lane, b, in, model.Dense, false)
		lanes[k].Free(o.valid)
		return edge, nil
	})
	if err != nil {
		return err
	}
	for _, t := range out.Tensors {
		used.Free(t.Tensor)
	}
	if err := used.Pool.Err(); err != nil {
		return fmt.Errorf("out of device memory: %w", err)
	}
	if err := used.Stream.Synchronize(ctx); err != nil {
		return err
	}
	for k, o := range seen {
		if o == nil {
			continue
		}
		s, err := o.sums()
		if err != nil {
			return err
		}
		if err := c.stages[k].sum.Put(reduce.Leaf(i), s); err != nil {
			return err
		}
	}
	return nil
}

// observation collects the sums of squares of one batch.
type observation struct {
	*stage
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
