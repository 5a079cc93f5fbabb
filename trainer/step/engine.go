package step

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync"

	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/objective"
	"ressa/trainer/optim"
	"ressa/trainer/trace"
)

// ErrNotFinite is returned when the loss or the gradient of a step is NaN or
// infinite. The state is that of the step before.
var ErrNotFinite = errors.New("not finite")

// Config is what a step needs to know of the job.
type Config struct {
	Graph     Graph
	Layouts   []*model.Layout // by node: what it trains; vision before language; nil where the node is not held
	Objective objective.Config
	Optimiser optim.Config
	Schedule  optim.Schedule
	Wire      kernels.DType // F32 or BF16: what edges and sums are rounded to
	Lanes     int           // microbatches at the same time, at least 1
	Peers     Peers         // the other workers; nil for an engine that holds every node
	// Order is the order in which all workers take up the microbatches of a step, a
	// permutation of their indices; nil is ascending. No bit depends on it.
	Order []int
	// Keep has the engine keep the state before the last step: peers may not have
	// come as far.
	Keep bool
	// Recompute is what blocks compute again in backward. No bit depends on it.
	Recompute model.Recompute
	// Largest is the largest microbatch that the job may have, where it is known:
	// memory is taken for it in the first step. Larger ones take more when they come.
	Largest Shape
	// Lane is about the memory that the largest microbatch takes of a lane, in bytes,
	// where it is known. An engine that does not hold every node needs it: what comes
	// from others cannot be computed beforehand.
	Lane int
	// Observer, where it is set, follows the steps.
	Observer Observer
}

// Observer follows what an engine agrees on with its peers. An error ends the step,
// with the trained state as it was.
type Observer interface {
	// Confirm is called when this worker has the whole gradient of a step, before it
	// tells the others so.
	Confirm(ctx context.Context, step int) error
	// Settled is called when all workers have theirs, before any update is made.
	Settled(ctx context.Context, s Settled) error
}

// Settled is what all workers agree on before they update.
type Settled struct {
	Step  int     // from 0
	LR    float64 // of the step
	Scale float32 // that gradients are multiplied with
	// Total reads the gradient of a node that is held and trained, before scaling.
	Total func(ctx context.Context, node int) ([]float32, error)
}

// Engine holds the trained state of all towers of one process and computes
// steps. It is not safe for concurrent use.
type Engine struct {
	config  Config
	device  kernels.Device
	walk    Walk
	vectors []*optim.Vector // by node; nil where the node is not held
	before  []*optim.Vector // the same, one step earlier; empty unless Config.Keep
	applied int             // steps that vectors hold; < 0: they are not whole
	kept    bool            // before holds applied - 1
	lanes   []*lane
	planned Shape            // that the lanes' pools hold
	sums    kernels.Stream   // additions along the tree, one at a time
	adding  sync.Mutex       // of what is enqueued to sums by several accumulators
	grads   []*gradientStore // by node; nil where it trains nothing or is not held
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
	// Slow says that the step took unusually long for some worker; all agree on it.
	Slow bool
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
	if c.Peers != nil {
		e.walk.Local, e.walk.Exchange = c.Peers.Owns, c.Peers
	}
	if err := e.open(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) open() error {
	for _, layout := range e.config.Layouts {
		if layout == nil {
			if e.config.Peers == nil {
				return errors.New("step: a node without a layout, and no peers to hold it")
			}
			e.vectors, e.grads = append(e.vectors, nil), append(e.grads, nil)
			if e.config.Keep {
				e.before = append(e.before, nil)
			}
			continue
		}
		v, err := optim.NewVector(e.device, layout)
		if err != nil {
			return err
		}
		e.vectors = append(e.vectors, v)
		if e.config.Keep {
			b, err := optim.NewVector(e.device, layout)
			if err != nil {
				return err
			}
			e.before = append(e.before, b)
		}
		var g *gradientStore
		if layout.Len > 0 {
			g = &gradientStore{device: e.device, length: layout.Len}
		}
		e.grads = append(e.grads, g)
	}
	for range e.config.Lanes {
		s, err := e.device.NewStream()
		if err != nil {
			return fmt.Errorf("open a lane: %w", err)
		}
		l := &lane{stream: s, pool: model.NewPool(e.device)}
		for _, v := range e.vectors {
			var n *model.Lane
			if v != nil {
				n = &model.Lane{Stream: s, Pool: l.pool, Values: v.Values, Recompute: e.config.Recompute}
			}
			l.nodes = append(l.nodes, n)
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
	for _, v := range append(e.vectors, e.before...) {
		if v != nil {
			v.Free(e.device)
		}
	}
	for _, g := range e.grads {
		g.close()
	}
	return errors.Join(errs...)
}

// Vector returns the trained state of a node; nil where it is not held.
func (e *Engine) Vector(node int) *optim.Vector { return e.vectors[node] }

// Applied returns how many steps the trained state holds, and whether it is whole:
// an update that the device did not finish leaves none.
func (e *Engine) Applied() (steps int, ok bool) { return e.applied, e.applied >= 0 }

// Loaded says that the trained state was set from outside to that of so many steps.
func (e *Engine) Loaded(steps int) { e.applied, e.kept = steps, false }

// Before returns a node's trained state as it was before the last step; nil where
// it is not known or not held.
func (e *Engine) Before(node int) *optim.Vector {
	if !e.kept {
		return nil
	}
	return e.before[node]
}

// Lanes returns the lanes of a node that is held, for work between steps such as
// evaluation.
func (e *Engine) Lanes(node int) []*model.Lane {
	out := make([]*model.Lane, len(e.lanes))
	for i, l := range e.lanes {
		out[i] = l.nodes[node]
	}
	return out
}

// Step computes step s, counted from 0, from all its microbatches and applies it.
// Of a microbatch that needs no vision tower here, only the text is read. On an
// error, which counts steps from 1 as reports do, the trained state is unchanged.
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
	if e.config.Order != nil && len(e.config.Order) != len(batches) {
		return r, fmt.Errorf("step %d: %d microbatches in an order of %d", s+1, len(batches), len(e.config.Order))
	}
	p, err := newPass(e, s, batches, scales)
	if err != nil {
		return r, fmt.Errorf("step %d: %w", s+1, err)
	}
	defer p.release()
	if err := e.reserve(ctx, batches); err != nil {
		return r, fmt.Errorf("step %d: %w", s+1, err)
	}
	if err := p.run(ctx); err != nil {
		return r, fmt.Errorf("step %d: %w", s+1, err)
	}
	for _, l := range e.lanes {
		r.PeakMemory = max(r.PeakMemory, l.pool.Peak())
		l.pool.Settle()
	}
	norms, losses, err := p.settle(ctx)
	if err != nil {
		return r, fmt.Errorf("step %d: %w", s+1, err)
	}
	r.Slow = p.slow
	r.Loss = scales.CE*losses.CE + scales.KL*losses.KL
	r.CE, r.KL = losses.CE/float64(r.Tokens), losses.KL/float64(r.Tokens)
	r.GradNorm = optim.Norm(norms...)
	if math.IsNaN(r.Loss) || math.IsInf(r.Loss, 0) || math.IsNaN(r.GradNorm) || math.IsInf(r.GradNorm, 0) {
		return r, fmt.Errorf("step %d: loss %v, gradient norm %v: %w", s+1, r.Loss, r.GradNorm, ErrNotFinite)
	}
	scale := e.config.Optimiser.ClipScale(r.GradNorm)
	r.Clipped = scale < 1
	if o := e.config.Observer; o != nil {
		total := func(ctx context.Context, node int) ([]float32, error) { return ReadVector(ctx, e.sums, p.totals[node]) }
		if err := o.Settled(ctx, Settled{s, r.LR, scale, total}); err != nil {
			return r, fmt.Errorf("step %d: %w", s+1, err)
		}
	}
	// All workers have voted: the update is made whoever gives up meanwhile.
	if err := e.update(context.WithoutCancel(ctx), p, r.LR, s, scale); err != nil {
		return r, fmt.Errorf("step %d: update: %w", s+1, err)
	}
	return r, nil
}

// update applies the totals of step s.
func (e *Engine) update(ctx context.Context, p *pass, lr float64, s int, scale float32) (err error) {
	ctx, span := trace.Begin(ctx, "", "optimizer")
	defer func() { span.End(err) }()
	e.applied, e.kept = -1, false
	for i, v := range e.vectors {
		if v == nil {
			continue
		}
		if e.config.Keep {
			b := e.before[i]
			for _, c := range [][2]kernels.Tensor{{b.Values, v.Values}, {b.M, v.M}, {b.V, v.V}} {
				if c[1].Len() > 0 {
					e.sums.Convert(c[0], c[1]) // of the same type: a copy
				}
			}
		}
		if e.grads[i] != nil {
			v.Update(e.sums, e.config.Optimiser, p.totals[i], lr, s, scale)
		}
	}
	if err := e.sums.Synchronize(ctx); err != nil {
		return err
	}
	e.applied, e.kept = s+1, e.config.Keep
	return nil
}

// owns reports whether this engine computes a node for a microbatch.
func (e *Engine) owns(node, microbatch int) bool {
	return e.vectors[node] != nil && (e.config.Peers == nil || e.config.Peers.Owns(node, microbatch))
}

// gradientStore recycles the gradient vectors of a node, one for each microbatch
// in flight. The gaps between slots stay zero.
type gradientStore struct {
	device kernels.Device
	length int
	mu     sync.Mutex
	free   []kernels.Tensor
	made   int
}

// reserve makes as many as a step of g microbatches on so many lanes may hold at
// once: those in flight, and beside each of them the partial sums of the tree that
// wait for it, at most one a level.
func (g *gradientStore) reserve(lanes, microbatches int) error {
	if g == nil {
		return nil
	}
	var held []kernels.Tensor
	defer func() {
		for _, t := range held {
			g.put(t)
		}
	}()
	for n := min(microbatches, lanes*(bits.Len(uint(microbatches-1))+1)); g.made < n; {
		t, err := g.get()
		if err != nil {
			return err
		}
		held = append(held, t)
	}
	return nil
}

func (g *gradientStore) get() (kernels.Tensor, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.free); n > 0 {
		t := g.free[n-1]
		g.free = g.free[:n-1]
		return t, nil
	}
	g.made++
	b, err := g.device.Alloc(g.length * kernels.F32.Size())
	if err != nil {
		return kernels.Tensor{}, fmt.Errorf("allocate a gradient of %d elements: %w", g.length, err)
	}
	return kernels.NewTensor(b, kernels.F32, 1, g.length), nil
}

func (g *gradientStore) put(t kernels.Tensor) {
	if g == nil || t.IsZero() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free = append(g.free, t)
}

func (g *gradientStore) close() {
	if g == nil {
		return
	}
	for _, t := range g.free {
		g.device.Free(t.Buffer)
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
	return kernels.DecodeF32(raw), nil
}

// WriteVector copies v to a device vector F32 (1, len(v)).
func WriteVector(ctx context.Context, s kernels.Stream, t kernels.Tensor, v []float32) error {
	if t.Len() != len(v) {
		return fmt.Errorf("vector has %d elements, want %d", len(v), t.Len())
	}
	s.Upload(t, kernels.EncodeF32(v))
	return s.Synchronize(ctx)
}
