package step

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ressa/collective/reduce"
	"ressa/coordinator/api/telemetry"
	"ressa/kernels"
	"ressa/trainer/activity"
	"ressa/trainer/data"
	"ressa/trainer/objective"
	"ressa/trainer/trace"
)

// pass is one step on its way through the engine: the sums of each node's
// gradients and of the losses along the tree.
type pass struct {
	*Engine
	step    int
	batches []*data.Batch
	scales  objective.Scales
	sums    []*reduce.Accumulator[kernels.Tensor] // by node; nil where it trains nothing or is not held
	losses  *reduce.Accumulator[*Losses]
	totals  []kernels.Tensor // by node: its gradient, once settled
	slow    bool             // for some worker
}

func newPass(e *Engine, s int, batches []*data.Batch, scales objective.Scales) (*pass, error) {
	p := &pass{Engine: e, step: s, batches: batches, scales: scales,
		sums: make([]*reduce.Accumulator[kernels.Tensor], len(e.grads)), totals: make([]kernels.Tensor, len(e.grads))}
	var err error
	if p.losses, err = reduce.New(len(batches), addLosses, nil); err != nil {
		return nil, err
	}
	return p, nil
}

func addLosses(dst, a, b *Losses) error {
	*dst = a.Add(*b)
	return nil
}

// run computes the microbatches that this engine has a part in, in the job's order
// on the lanes, and sums them. The first microbatch of the order that any worker
// has not finished is in a lane of everyone who has a part in it, so that workers
// never wait for each other in a circle.
func (p *pass) run(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	for i, g := range p.grads {
		if g == nil {
			continue
		}
		var err error
		if p.sums[i], err = reduce.New(len(p.batches), p.addGradients(gctx), g.put); err != nil {
			return err
		}
	}
	var own []int
	for k := range p.batches {
		m := k
		if p.config.Order != nil {
			m = p.config.Order[k]
		}
		for i := range p.vectors {
			if p.owns(i, m) {
				own = append(own, m)
				break
			}
		}
	}
	var next atomic.Int64
	for _, l := range p.lanes {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(own) || gctx.Err() != nil {
					return gctx.Err()
				}
				mctx, end := activity.Begin(gctx, fmt.Sprintf("microbatch %d of step %d", own[i], p.step+1))
				mctx, span := trace.Begin(mctx, "", "microbatch", telemetry.Microbatch.Int(own[i]))
				err := p.microbatch(mctx, l, own[i])
				span.End(err)
				end()
				if err != nil {
					return fmt.Errorf("microbatch %d: %w", own[i], err)
				}
			}
		})
	}
	return group.Wait()
}

// addGradients returns the node of the reduction tree.
func (p *pass) addGradients(ctx context.Context) func(dst, a, b kernels.Tensor) error {
	return func(dst, a, b kernels.Tensor) error {
		// Accumulators of several nodes share the stream.
		p.adding.Lock()
		defer p.adding.Unlock()
		p.Engine.sums.AddRounded(dst, a, b, p.config.Wire)
		return p.Engine.sums.Synchronize(ctx)
	}
}

// microbatch runs microbatch m on a lane and puts its gradients into the sums.
func (p *pass) microbatch(ctx context.Context, l *lane, m int) error {
	mb := &Microbatch{Step: p.step, Index: m, Batch: p.batches[m], Scales: p.scales}
	grads := make([]kernels.Tensor, len(l.nodes))
	giveBack := func() {
		for i, t := range grads {
			p.grads[i].put(t)
		}
	}
	for i, n := range l.nodes {
		if p.grads[i] == nil || !p.owns(i, m) {
			continue
		}
		var err error
		if grads[i], err = p.grads[i].get(); err != nil {
			giveBack()
			return err
		}
		n.Grads = grads[i]
		if mb.Batch.Images == 0 || mb.Batch.AnswerTokens == 0 {
			// What only images reach, and a trained head without a loss, have no
			// backward in this microbatch.
			l.stream.Fill(n.Grads, 0)
		}
	}
	l.pool.BeginHost()
	losses, err := p.walk.Run(ctx, l.nodes, mb)
	l.pool.EndHost(err == nil)
	if err != nil {
		giveBack()
		return err
	}
	for i, t := range grads {
		if t.IsZero() {
			continue
		}
		if err := p.sums[i].Put(reduce.Leaf(m), t); err != nil {
			return err
		}
	}
	if p.owns(len(p.vectors)-1, m) {
		return p.losses.Put(reduce.Leaf(m), &losses)
	}
	return nil
}

// vote is what a worker tells the others before anyone updates: that its
// gradients are reduced, what their squares sum to, and the losses that it knows.
type vote struct {
	Norms  map[int][]float64 // by node that the worker speaks for, in layout order
	Losses []lossPart
	Slow   bool // for the worker, this step took unusually long
}

type lossPart struct {
	Lo, Hi int
	Sum    Losses
}

// settle completes the totals of the nodes that are held, and returns the sums of
// squares of all nodes and the losses of all microbatches. When it returns without
// an error, every worker has its totals.
func (p *pass) settle(ctx context.Context) ([][]float64, Losses, error) {
	mine := vote{Norms: map[int][]float64{}, Slow: trace.Slow(ctx)}
	for i, v := range p.vectors {
		if p.grads[i] == nil {
			continue
		}
		if err := p.total(ctx, i); err != nil {
			return nil, Losses{}, fmt.Errorf("%s: %w", p.config.Graph.Nodes[i].Name(), err)
		}
		if p.config.Peers == nil || p.config.Peers.First(i) {
			squares, err := v.SumSquares(ctx, p.Engine.sums, p.totals[i])
			if err != nil {
				return nil, Losses{}, fmt.Errorf("gradient norm: %w", err)
			}
			mine.Norms[i] = squares
		}
	}
	for _, part := range p.losses.Take() {
		mine.Losses = append(mine.Losses, lossPart{part.Lo, part.Hi, *part.Value})
	}
	if o := p.config.Observer; o != nil {
		if err := o.Confirm(ctx, p.step); err != nil {
			return nil, Losses{}, err
		}
	}
	votes, err := p.vote(ctx, mine)
	if err != nil {
		return nil, Losses{}, err
	}
	return p.count(votes)
}

// total brings the gradient of a node to its total over all microbatches.
func (p *pass) total(ctx context.Context, node int) (err error) {
	tower := p.config.Graph.tower(node)
	ctx, span := trace.Begin(ctx, tower, "allreduce", telemetry.Tower.String(tower), telemetry.Bytes.Int(exchanged(p.vectors[node].Layout)*kernels.F32.Size()))
	defer func() { span.End(err) }()
	if p.config.Peers == nil || p.config.Peers.Replicas(node) < 2 {
		parts := p.sums[node].Take()
		if len(parts) != 1 || parts[0].Len() != len(p.batches) {
			return fmt.Errorf("sums of %d microbatches are incomplete: have %d parts", len(p.batches), len(parts))
		}
		p.totals[node] = parts[0].Value
		return p.roundTotal(ctx, p.totals[node])
	}
	var parts []reduce.Part[[]float32]
	for _, part := range p.sums[node].Take() {
		v, err := p.readExchanged(ctx, node, part.Value)
		p.grads[node].put(part.Value)
		if err != nil {
			return err
		}
		parts = append(parts, reduce.Part[[]float32]{Subtree: part.Subtree, Value: v})
	}
	sum := make([]float32, exchanged(p.vectors[node].Layout))
	if len(parts) > 0 {
		sum = parts[0].Value
	}
	if err := p.config.Peers.Reduce(ctx, p.step, node, parts, sum); err != nil {
		return fmt.Errorf("reduce gradients: %w", err)
	}
	if p.totals[node], err = p.grads[node].get(); err != nil {
		return err
	}
	return p.writeExchanged(ctx, node, p.totals[node], sum)
}

// roundTotal rounds a total to the wire dtype: the last edge of the tree, from the
// owner of a sum to those who hold the node.
func (p *pass) roundTotal(ctx context.Context, t kernels.Tensor) error {
	if p.config.Wire == kernels.F32 {
		return nil
	}
	pool := p.lanes[0].pool
	short := pool.Get(p.config.Wire, t.Rows, t.Cols)
	p.Engine.sums.Convert(short, t)
	p.Engine.sums.Convert(t, short)
	defer pool.Put(short)
	if err := pool.Err(); err != nil {
		return fmt.Errorf("out of device memory: %w", err)
	}
	return p.Engine.sums.Synchronize(ctx)
}

// vote exchanges votes with the peers; without peers the own one is all.
func (p *pass) vote(ctx context.Context, mine vote) ([]vote, error) {
	if p.config.Peers == nil {
		return []vote{mine}, nil
	}
	var said bytes.Buffer
	if err := gob.NewEncoder(&said).Encode(mine); err != nil {
		return nil, fmt.Errorf("vote: %w", err)
	}
	all, err := p.config.Peers.Gather(ctx, fmt.Sprintf("vote/%d", p.step), said.Bytes())
	if err != nil {
		return nil, fmt.Errorf("vote: %w", err)
	}
	votes := make([]vote, len(all))
	for w, raw := range all {
		if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&votes[w]); err != nil {
			return nil, fmt.Errorf("vote of worker %d: %w", w, err)
		}
	}
	return votes, nil
}

// count joins the votes: the norms in the order of the nodes, the losses along the
// tree.
func (p *pass) count(votes []vote) ([][]float64, Losses, error) {
	norms := make([][]float64, len(p.vectors))
	total, err := reduce.New(len(p.batches), addLosses, nil)
	if err != nil {
		return nil, Losses{}, err
	}
	for _, v := range votes {
		p.slow = p.slow || v.Slow
		for node, squares := range v.Norms {
			if node < 0 || node >= len(norms) || norms[node] != nil {
				return nil, Losses{}, fmt.Errorf("vote: node %d is unknown or told of twice", node)
			}
			norms[node] = squares
		}
		for _, part := range v.Losses {
			if err := total.Put(reduce.Subtree{Lo: part.Lo, Hi: part.Hi}, &part.Sum); err != nil {
				return nil, Losses{}, fmt.Errorf("vote: losses: %w", err)
			}
		}
	}
	sum, ok := total.Sum()
	if !ok {
		return nil, Losses{}, errors.New("vote: losses of some microbatches are missing")
	}
	return norms, *sum, nil
}

// release gives the memory of sums and totals back.
func (p *pass) release() {
	for i, acc := range p.sums {
		if acc == nil {
			continue
		}
		for _, part := range acc.Take() {
			p.grads[i].put(part.Value)
		}
		p.grads[i].put(p.totals[i])
	}
}
