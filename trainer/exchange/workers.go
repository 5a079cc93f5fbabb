package exchange

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ressa/collective/allreduce"
	"ressa/collective/reduce"
	"ressa/kernels"
	"ressa/shard"
	"ressa/trainer/step"
)

// Collectives is what workers need of a group beside messages: package
// collective/group implements it.
type Collectives interface {
	Messenger
	allreduce.Messenger
	AllGather(ctx context.Context, members []int, key string, message []byte) ([][]byte, error)
}

// Workers implements [step.Peers] for one worker of a plan, whose stages are the
// nodes of the graph and whose workers are the ranks of the group. It is safe for
// concurrent use.
type Workers struct {
	*Exchange
	plan    shard.Plan
	group   Collectives
	reducer *allreduce.Reducer
	wire    kernels.DType
	timeout time.Duration
}

var _ step.Peers = (*Workers)(nil)

// NewWorkers returns the peers of this worker. Every exchange with another worker
// fails after the timeout.
func NewWorkers(g Collectives, p shard.Plan, wire kernels.DType, timeout time.Duration) (*Workers, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if g.World() != len(p.Nodes) {
		return nil, fmt.Errorf("exchange: a group of %d for a plan of %d workers", g.World(), len(p.Nodes))
	}
	x, err := New(Config{Group: g, Wire: wire, Timeout: timeout,
		Rank: func(node, microbatch int) int { return p.Stages[node].Owners[microbatch] }})
	if err != nil {
		return nil, err
	}
	r, err := allreduce.New(g, allreduce.DefaultOptions())
	if err != nil {
		return nil, err
	}
	return &Workers{Exchange: x, plan: p, group: g, reducer: r, wire: wire, timeout: timeout}, nil
}

// First implements [step.Peers].
func (w *Workers) First(node int) bool { return w.plan.Stages[node].Workers[0] == w.group.Rank() }

// Replicas implements [step.Peers].
func (w *Workers) Replicas(node int) int { return len(w.plan.Stages[node].Workers) }

// Reduce implements [step.Peers].
func (w *Workers) Reduce(ctx context.Context, s, node int, parts []reduce.Part[[]float32], sum []float32) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	stage := w.plan.Stages[node]
	return w.reducer.AllReduce(ctx, allreduce.Reduction{Key: fmt.Sprintf("gradient/%d/%d", s, node), Members: slices.Clone(stage.Workers),
		Owners: stage.Owners, Len: len(sum), Wire: w.wire}, parts, sum)
}

// Gather implements [step.Peers].
func (w *Workers) Gather(ctx context.Context, tag string, said []byte) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	return w.group.AllGather(ctx, nil, tag, said)
}
