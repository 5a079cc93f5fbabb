package step

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ressa/collective/reduce"
	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/objective"
	"ressa/trainer/optim"
)

// ErrNotFinite is returned when the loss or the gradient of a step is NaN or
// infinite. The state is that of the step before.
var ErrNotFinite = errors.New("not finite")

// Config is what a step needs to know of the job.
type Config struct {
	Graph     Graph
	Layouts   []*model.Layout // by node: what it trains; vision before language
	Objective objective.Config
	Optimiser optim.Config
	Schedule  optim.Schedule
	Wire      kernels.DType // F32 or BF16: what edges and partial sums are rounded to
	Lanes     int           // microbatches at the same time, at least 1
}

// Engine holds the trained state of all towers of one process and computes
// steps. It is not safe for concurrent use.
type Engine struct {
	config  Config
	device  kernels.Device
	walk    Walk
	vectors []*optim.Vector // by node
	lanes   []*lane
	sums    kernels.Stream // additions along the tree, one at a time
	grads   gradientStore
}

// lane is the stream and memory of one microbatch at a time, seen by each node
// through a view with its own trained values.
type lane struct {
	stream kernels.Stream
	pool   *model.Pool
	nodes  []*model.Lane
}

// Result tells what a step did.
type Result struct {
	Step       int
	Loss       float64 // the objective: mean per answer token unless the job says otherwise
	CE, KL     float64 // means per row that entered them
	GradNorm   float64 // before clipping, over all towers
	Clipped    bool
	LR         float64
	Tokens     int // answer tokens
	PeakMemory int // bytes of activations and scratch in the fullest lane
}

// NewEngine allocates state for what the layouts say; values are zero until
// they are set through Vector. Close releases it.
func NewEngine(device kernels.Device, c Config) (*Engine, error) {
	if err := errors.Join(c.Graph.Check(), c.Objective.Check(), c.Optimiser.Check(), c.Schedule.Check()); err != nil {
		return nil, err
	}
	if len(c.Layouts) != len(c.Graph.Nodes) || c.Lanes < 1 {
		return nil, fmt.Errorf("step: %d layouts for %d nodes, %d lanes", len(c.Layouts), len(c.Graph.Nodes), c.Lanes)
	}
	e := &Engine{config: c, device: device, walk: Walk{Graph: c.Graph, Wire: c.Wire}}
	if err := e.open(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) open() error {
	for _, layout := range e.config.Layouts {
		v, err := optim.NewVector(e.device, layout)
		if err != nil {
			return err
		}
		e.vectors = append(e.vectors, v)
	}
	e.grads = gradientStore{device: e.device, layouts: e.config.Layouts}
	for range e.config.Lanes {
		s, err := e.device.NewStream()
		if err != nil {
			return fmt.Errorf("open a lane: %w", err)
		}
		l := &lane{stream: s, pool: model.NewPool(e.device)}
		for _, v := range e.vectors {
			l.nodes = append(l.nodes, &model.Lane{Stream: s, Pool: l.pool, Values: v.Values})
		}
		e.lanes = append(e.lanes, l)
	}
	var err error
	if e.sums, err = e.device.NewStream(); err != nil {
		return fmt.Errorf("open the stream of sums: %w", err)
	}
	return nil
}

// Close releases streams and memory.
func (e *Engine) Close() error {
	var errs []error
	for _, l := range e.lanes {
		errs = append(errs, l.stream.Close())
		l.pool.Close()
	}
	if e.sums != nil {
		errs = append(errs, e.sums.Close())
	}
	for _, v := range e.vectors {
		v.Free(e.device)
	}
	e.grads.close()
	return errors.Join(errs...)
}

// Vector returns the trained state of a node.
func (e *Engine) Vector(node int) *optim.Vector { return e.vectors[node] }

// Lanes returns the lanes of a node, for work between steps such as evaluation.
func (e *Engine) Lanes(node int) []*model.Lane {
	out := make([]*model.Lane, len(e.lanes))
	for i, l := range e.lanes {
		out[i] = l.nodes[node]
	}
	return out
}

// Step computes step s, counted from 0, from its microbatches and applies it. On
// an error, which counts steps from 1 as reports do, the trained state is
// unchanged.
func (e *Engine) Step(ctx context.Context, s int, batches []*data.Batch) (Result, error) {
	r := Result{Step: s, LR: e.config.Schedule.At(s)}
	sequences := 0
	for _, b := range batches {
		r.Tokens += b.AnswerTokens
		sequences += b.Sequences
	}
	if r.Tokens == 0 {
		return r, fmt.Errorf("step %d: no answer token in %d microbatches", s+1, len(batches))
	}
	scales := e.config.Objective.Scales(r.Tokens, sequences)
	grads, losses, err := e.accumulate(ctx, s, batches, scales)
	if err != nil {
		return r, fmt.Errorf("step %d: %w", s+1, err)
	}
	defer e.grads.put(grads)
	r.Loss = scales.CE*losses.CE + scales.KL*losses.KL
	r.CE, r.KL = losses.CE/float64(r.Tokens), losses.KL/float64(r.Tokens)
	for _, l := range e.lanes {
		r.PeakMemory = max(r.PeakMemory, l.pool.Peak())
	}
	sums := make([][]float64, len(e.vectors))
	for i, v := range e.vectors {
		if sums[i], err = v.SumSquares(ctx, e.sums, grads[i]); err != nil {
			return r, fmt.Errorf("step %d: gradient norm: %w", s+1, err)
		}
	}
	r.GradNorm = optim.Norm(sums...)
	if math.IsNaN(r.Loss) || math.IsInf(r.Loss, 0) || math.IsNaN(r.GradNorm) || math.IsInf(r.GradNorm, 0) {
		return r, fmt.Errorf("step %d: loss %v, gradient norm %v: %w", s+1, r.Loss, r.GradNorm, ErrNotFinite)
	}
	scale := e.config.Optimiser.ClipScale(r.GradNorm)
	r.Clipped = scale < 1
	for i, v := range e.vectors {
		v.Update(e.sums, e.config.Optimiser, grads[i], r.LR, s, scale)
	}
	if err := e.sums.Synchronize(ctx); err != nil {
		return r, fmt.Errorf("step %d: update: %w", s+1, err)
	}
	return r, nil
}

// leaf is what one microbatch adds to the step.
type leaf struct {
	grads  []kernels.Tensor // by node
	losses *Losses
}

// accumulate runs the microbatches on the lanes and sums them along the tree.
func (e *Engine) accumulate(ctx context.Context, s int, batches []*data.Batch, scales objective.Scales) ([]kernels.Tensor, Losses, error) {
	acc, err := reduce.New(len(batches), e.addLeaves(ctx), func(l leaf) { e.grads.put(l.grads) })
	if err != nil {
		return nil, Losses{}, err
	}
	var next atomic.Int64
	group, gctx := errgroup.WithContext(ctx)
	for _, l := range e.lanes {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(batches) || gctx.Err() != nil {
					return gctx.Err()
				}
				v, err := e.microbatch(gctx, l, &Microbatch{Step: s, Index: i, Batch: batches[i], Scales: scales})
				if err != nil {
					return fmt.Errorf("microbatch %d: %w", i, err)
				}
				if err := acc.Put(reduce.Leaf(i), v); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		for _, p := range acc.Take() {
			e.grads.put(p.Value.grads)
		}
		return nil, Losses{}, err
	}
	sum, ok := acc.Sum()
	if !ok {
		return nil, Losses{}, fmt.Errorf("sums of %d microbatches are incomplete: have %v", len(batches), acc.Held())
	}
	return sum.grads, *sum.losses, nil
}

func (e *Engine) microbatch(ctx context.Context, l *lane, mb *Microbatch) (leaf, error) {
	grads, err := e.grads.get()
	if err != nil {
		return leaf{}, err
	}
	for i, n := range l.nodes {
		n.Grads = grads[i]
		if (mb.Batch.Images == 0 || mb.Batch.AnswerTokens == 0) && n.Grads.Len() > 0 {
			// What only images reach, and a trained head without a loss, have no
			// backward in this microbatch.
			l.stream.Fill(n.Grads, 0)
		}
	}
	losses, err := e.walk.Run(ctx, l.nodes, mb)
	if err != nil {
		e.grads.put(grads)
		return leaf{}, err
	}
	return leaf{grads, &losses}, nil
}

// addLeaves returns the node of the reduction tree.
func (e *Engine) addLeaves(ctx context.Context) func(dst, a, b leaf) error {
	return func(dst, a, b leaf) error {
		for i := range dst.grads {
			e.sums.AddRounded(dst.grads[i], a.grads[i], b.grads[i], e.config.Wire)
		}
		*dst.losses = a.losses.Add(*b.losses)
		return e.sums.Synchronize(ctx)
	}
}

// gradientStore recycles gradient vectors, one per node and microbatch in
// flight. The gaps between slots stay zero.
type gradientStore struct {
	device  kernels.Device
	layouts []*model.Layout
	mu      sync.Mutex
	free    [][]kernels.Tensor
}

func (g *gradientStore) get() ([]kernels.Tensor, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.free); n > 0 {
		t := g.free[n-1]
		g.free = g.free[:n-1]
		return t, nil
	}
	out := make([]kernels.Tensor, len(g.layouts))
	for i, layout := range g.layouts {
		b, err := g.device.Alloc(max(1, layout.Len) * kernels.F32.Size())
		if err != nil {
			for _, t := range out[:i] {
				g.device.Free(t.Buffer)
			}
			return nil, fmt.Errorf("allocate a gradient of %d elements: %w", layout.Len, err)
		}
		out[i] = kernels.NewTensor(b, kernels.F32, 1, layout.Len)
	}
	return out, nil
}

func (g *gradientStore) put(t []kernels.Tensor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free = append(g.free, t)
}

func (g *gradientStore) close() {
	for _, list := range g.free {
		for _, t := range list {
			g.device.Free(t.Buffer)
		}
	}
	g.free = nil
}

// ReadVector copies a device vector F32 (1, n) to the host.
func ReadVector(ctx context.Context, s kernels.Stream, t kernels.Tensor) ([]float32, error) {
	raw := make([]byte, t.Bytes())
	s.Download(raw, t)
	if err := s.Synchronize(ctx); err != nil {
		return nil, err
	}
	out := make([]float32, t.Len())
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out, nil
}

// WriteVector copies v to a device vector F32 (1, len(v)).
func WriteVector(ctx context.Context, s kernels.Stream, t kernels.Tensor, v []float32) error {
	if t.Len() != len(v) {
		return fmt.Errorf("vector has %d elements, want %d", len(v), t.Len())
	}
	raw := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(x))
	}
	s.Upload(t, raw)
	return s.Synchronize(ctx)
}
