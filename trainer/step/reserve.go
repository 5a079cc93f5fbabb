package step

import (
	"context"
	"fmt"
	"slices"

	"ressa/kernels"
	"ressa/kernels/dry"
	"ressa/trainer/data"
	"ressa/trainer/model"
)

// Shape is what the memory of a microbatch depends on.
type Shape struct {
	Sequences, Length int
	Images            int
	Pixels            int // of an image
	ImageRows         int
	Answers           int // labels that are not [data.Ignore]
}

// shapeOf returns the shape of a batch.
func shapeOf(b *data.Batch) Shape {
	s := Shape{Sequences: b.Sequences, Length: b.Length, Images: b.Images, ImageRows: len(b.ImageRows), Answers: b.AnswerTokens}
	if b.Images > 0 {
		s.Pixels = len(b.Pixels) / b.Images
	}
	return s
}

// join returns the least shape that holds both.
func (s Shape) join(o Shape) Shape {
	return Shape{max(s.Sequences, o.Sequences), max(s.Length, o.Length), max(s.Images, o.Images), max(s.Pixels, o.Pixels),
		max(s.ImageRows, o.ImageRows), max(s.Answers, o.Answers)}
}

// batch returns a batch of that shape.
func (s Shape) batch() *data.Batch {
	rows := s.Sequences * s.Length
	b := &data.Batch{Sequences: s.Sequences, Length: s.Length, Tokens: make([]int32, rows), Labels: make([]int32, rows),
		Lengths: slices.Repeat([]int32{int32(s.Length)}, s.Sequences), Positions: make([]int32, rows),
		Images: s.Images, Pixels: make([]float32, s.Images*s.Pixels), AnswerTokens: min(s.Answers, rows)}
	for i := range rows {
		b.Positions[i] = int32(i % s.Length)
		if i >= s.Answers {
			b.Labels[i] = data.Ignore
		}
	}
	for i := rows - min(s.ImageRows, rows); i < rows; i++ {
		b.ImageRows = append(b.ImageRows, int32(i))
	}
	return b
}

// slack is the part by which more is reserved than the largest microbatch takes:
// the gaps that smaller ones leave are others.
const slack = 32

// reserve makes the pools hold what the largest of these batches takes, and what the
// job's largest one does, as long as neither is known to fit. Pools of an engine
// that holds some nodes only, and gets edges from others, begin with what it was told
// and grow as they are used.
func (e *Engine) reserve(ctx context.Context, batches []*data.Batch) error {
	shape := e.planned
	if shape == (Shape{}) {
		shape = e.config.Largest
	}
	for _, b := range batches {
		shape = shape.join(shapeOf(b))
	}
	if e.config.Peers == nil {
		for _, g := range e.grads {
			if err := g.reserve(len(e.lanes), len(batches)); err != nil {
				return err
			}
		}
	}
	if shape == e.planned {
		return nil
	}
	bytes := e.config.Lane
	if !slices.Contains(e.vectors, nil) {
		var err error
		if bytes, err = e.takes(ctx, shape); err != nil {
			return fmt.Errorf("plan memory: %w", err)
		}
	}
	e.planned = shape
	for _, l := range e.lanes {
		if bytes > 0 {
			l.pool.Reserve(bytes + bytes/slack)
		}
	}
	return nil
}

// takes returns what a microbatch of that shape takes of a lane's pool, by computing
// one on a device that only counts.
func (e *Engine) takes(ctx context.Context, shape Shape) (bytes int, err error) {
	d := dry.Open()
	s, err := d.NewStream()
	if err != nil {
		return 0, err
	}
	pool := model.NewPool(d)
	pool.Reserve(1 << 50)
	lanes := make([]*model.Lane, len(e.vectors))
	for i := range lanes {
		n := e.config.Layouts[i].Len
		b, err := d.Alloc(n * kernels.F32.Size())
		if err != nil {
			return 0, err
		}
		v := kernels.NewTensor(b, kernels.F32, 1, n)
		lanes[i] = &model.Lane{Stream: s, Pool: pool, Values: v, Grads: v, Recompute: e.config.Recompute}
	}
	w := Walk{Graph: e.config.Graph, Wire: e.config.Wire}
	_, err = w.Run(ctx, lanes, &Microbatch{Batch: shape.batch()})
	for _, l := range lanes { // see roundTotal
		pool.Put(pool.Get(w.Wire, 1, l.Values.Cols))
	}
	return pool.Extent(), err
}
