package team

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ressa/trainer/activity"
	"ressa/trainer/model"
	"ressa/trainer/step"
)

// Number reserves n numbers for forward passes: the first of them. Passes of one
// cell with different numbers do not meet each other's messages.
func (t *Team) Number(n int) int {
	t.phases += n
	return t.phases - n
}

// Run does the work of the cells that this worker has a part in, in ascending
// order on the lanes. The first cell that any worker has not finished is in a lane
// of everyone who has a part in it, so that workers never wait for each other in
// a circle.
func (t *Team) Run(ctx context.Context, lanes, cells int, work func(ctx context.Context, lane, cell int) error) error {
	var own []int
	for c := range cells {
		if t.Part(c) {
			own = append(own, c)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for lane := range lanes {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(own) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				ctx, end := activity.Begin(ctx, fmt.Sprintf("cell %d", own[i]))
				err := work(ctx, lane, own[i])
				end()
				if err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// Forward takes a cell through the stages from first on, those that this worker
// computes: each is handed the output of the stage before it, which Forward frees
// when the stage has returned. lanes are by stage and share a stream. The output
// of the last stage is the return where this worker computes it, and the caller's
// to free. number is one of [Team.Number].
func (t *Team) Forward(ctx context.Context, lanes []*model.Lane, number, cell, first int, stage func(i int, in model.Edge) (model.Edge, error)) (model.Edge, error) {
	var edge model.Edge // output of the stage before, where it is here
	last := len(t.config.Plan.Stages) - 1
	for i := first; i <= last; i++ {
		if !t.Owns(i, cell) {
			continue
		}
		if i > first && !t.Owns(i-1, cell) {
			var err error
			if edge, err = t.cells.Recv(ctx, lanes[i], key(number, cell, i-1)); err != nil {
				return edge, fmt.Errorf("receive the output of stage %d: %w", i-1, err)
			}
		}
		out, err := stage(i, edge)
		release(lanes[i], edge)
		if err != nil {
			return model.Edge{}, err
		}
		edge = out
		if i < last && !t.Owns(i+1, cell) {
			err := t.cells.Send(ctx, lanes[i], key(number, cell, i), edge)
			release(lanes[i], edge)
			if err != nil {
				return model.Edge{}, fmt.Errorf("send the output of stage %d: %w", i, err)
			}
			edge = model.Edge{}
		}
	}
	return edge, nil
}

func key(number, cell, from int) step.EdgeKey {
	return step.EdgeKey{Step: number, Microbatch: cell, From: from, To: from + 1, Exact: true}
}

func release(l *model.Lane, e model.Edge) {
	for _, x := range e.Tensors {
		l.Free(x.Tensor)
	}
}

// Share passes what the last stage of a cell says to everyone who computes one of
// its stages from first on. Who has no part in them must not call it.
func (t *Team) Share(ctx context.Context, number, cell, first int, said []byte) ([]byte, error) {
	last := len(t.config.Plan.Stages) - 1
	from := t.owner(last, cell)
	tag := fmt.Sprintf("share %d/%d", number, cell)
	if from != t.worker {
		ctx, cancel := t.bound(ctx)
		defer cancel()
		raw, err := t.config.Group.Recv(ctx, from, tag)
		if err != nil {
			return nil, fmt.Errorf("what the last stage says of cell %d: %w", cell, err)
		}
		return raw, nil
	}
	told := map[int]bool{t.worker: true}
	for i := first; i < last; i++ {
		w := t.owner(i, cell)
		if told[w] {
			continue
		}
		told[w] = true
		ctx, cancel := t.bound(ctx)
		err := t.config.Group.Send(ctx, w, tag, said)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("what the last stage says of cell %d: %w", cell, err)
		}
	}
	return said, nil
}
