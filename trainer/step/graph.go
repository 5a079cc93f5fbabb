package step

import (
	"context"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"

	"ressa/coordinator/api/telemetry"
	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/objective"
	"ressa/trainer/trace"
)

// Microbatch is the unit of work: one batch, numbered within its step.
type Microbatch struct {
	Step, Index int
	Batch       *data.Batch
	Scales      objective.Scales
}

// Node is the program of one stage for one microbatch. A node is used by
// several lanes at the same time and keeps nothing between calls but through
// Kept.
type Node interface {
	// Name identifies the node in errors and traces.
	Name() string
	// Forward computes the stage's output from the edges it reads, in the order
	// of the graph. The tensors of in stay valid until Backward returned.
	Forward(ctx context.Context, l *model.Lane, mb *Microbatch, in []model.Edge) (model.Edge, Kept, error)
	// Backward writes the gradients of what the stage trains into l.Grads and
	// returns the gradients of in, one edge for each, empty where an input needs
	// none. dout is the sum of what the readers of the output returned.
	Backward(ctx context.Context, l *model.Lane, mb *Microbatch, kept Kept, dout model.Edge) ([]model.Edge, error)
}

// Kept is what a node's forward leaves for its backward.
type Kept interface {
	// Losses returns the sums of the loss terms over the rows of the microbatch;
	// zero for a node that computes no loss. Valid after the stream was synchronised,
	// also after Backward or Release.
	Losses() Losses
	// Release gives the memory back when there will be no backward.
	Release(l *model.Lane)
}

// Losses are unscaled sums over rows.
type Losses struct {
	CE, KL float64
}

// Add returns the sum of two microbatches' losses.
func (a Losses) Add(b Losses) Losses { return Losses{a.CE + b.CE, a.KL + b.KL} }

// Graph is the directed acyclic graph of a model's stages. Inputs[i] lists the
// nodes whose edges node i reads, all less than i.
//
// Towers[i] names the tower of node i: an edge between two towers is a cut, where
// the job's wire dtype rounds. Without it every edge is a cut.
type Graph struct {
	Nodes  []Node
	Inputs [][]int
	Towers []string
}

// cut reports whether the edge between two nodes is one between towers.
func (g Graph) cut(from, to int) bool { return g.Towers == nil || g.Towers[from] != g.Towers[to] }

// tower names the tower of node i; without towers it is the node's name.
func (g Graph) tower(i int) string {
	if g.Towers == nil {
		return g.Nodes[i].Name()
	}
	return g.Towers[i]
}

// Check verifies that inputs come before their readers.
func (g Graph) Check() error {
	if len(g.Nodes) == 0 || len(g.Inputs) != len(g.Nodes) || g.Towers != nil && len(g.Towers) != len(g.Nodes) {
		return fmt.Errorf("graph: %d nodes with %d lists of inputs and %d towers", len(g.Nodes), len(g.Inputs), len(g.Towers))
	}
	for i, list := range g.Inputs {
		for _, j := range list {
			if j < 0 || j >= i {
				return fmt.Errorf("graph: node %d (%s) reads node %d, which does not come before it", i, g.Nodes[i].Name(), j)
			}
		}
	}
	return nil
}

// EdgeKey names one crossing of an edge.
type EdgeKey struct {
	Step, Microbatch int
	From, To         int // nodes; a gradient goes from the reader to the stage it read
	Gradient         bool
	Exact            bool // within a tower: travels in F32 whatever the wire dtype
}

// Exchange moves edges between ranks. Both calls fail when the context ends.
type Exchange interface {
	// Send hands an edge to the rank of node k.To. The tensors may be reused when
	// it returns.
	Send(ctx context.Context, l *model.Lane, k EdgeKey, e model.Edge) error
	// Recv waits for an edge; the tensors come from the lane's pool.
	Recv(ctx context.Context, l *model.Lane, k EdgeKey) (model.Edge, error)
}

// Walk runs microbatches through the part of a graph that one rank holds.
type Walk struct {
	Graph Graph
	// Local reports whether this rank computes a node for a microbatch; nil: always.
	Local    func(node, microbatch int) bool
	Exchange Exchange      // nil when all are local
	Wire     kernels.DType // what edges are rounded to: F32 or BF16
}

// Run computes one microbatch: forward through all local nodes in order,
// backward in reverse. lanes[i] is the lane of node i; all lanes of a call share
// one stream and pool. The gradients are in the lanes' Grads when it returns,
// and the stream is synchronised.
func (w *Walk) Run(ctx context.Context, lanes []*model.Lane, mb *Microbatch) (Losses, error) {
	r := &passage{walk: w, lanes: lanes, mb: mb, outs: make([]model.Edge, len(w.Graph.Nodes)),
		kept: make([]Kept, len(w.Graph.Nodes)), received: make([][]model.Edge, len(w.Graph.Nodes))}
	defer r.release()
	if err := r.forward(ctx); err != nil {
		return Losses{}, err
	}
	kept := slices.Clone(r.kept)
	if err := r.backward(ctx); err != nil {
		return Losses{}, err
	}
	if err := r.synchronize(ctx); err != nil {
		return Losses{}, err
	}
	var total Losses
	for _, k := range kept {
		if k != nil {
			total = total.Add(k.Losses())
		}
	}
	return total, nil
}

// passage is the state of one microbatch on its way.
type passage struct {
	walk     *Walk
	lanes    []*model.Lane
	mb       *Microbatch
	outs     []model.Edge   // by node: its output
	kept     []Kept         // by node
	received [][]model.Edge // by node: inputs that came from other ranks
	scratch  []owned        // tensors to give back at the end
}

type owned struct {
	lane *model.Lane
	edge model.Edge
}

func (r *passage) local(node int) bool {
	return r.walk.Local == nil || r.walk.Local(node, r.mb.Index)
}

func (r *passage) forward(ctx context.Context) error {
	g := r.walk.Graph
	for i, node := range g.Nodes {
		if !r.local(i) {
			continue
		}
		in := make([]model.Edge, len(g.Inputs[i]))
		for n, from := range g.Inputs[i] {
			if r.local(from) {
				in[n] = r.outs[from]
				continue
			}
			e, err := r.receive(ctx, i, r.key(from, i, false))
			if err != nil {
				return fmt.Errorf("receive output of %s: %w", g.Nodes[from].Name(), err)
			}
			in[n] = e
			r.own(r.lanes[i], e)
		}
		out, kept, err := node.Forward(ctx, r.lanes[i], r.mb, in)
		if err != nil {
			return fmt.Errorf("%s forward: %w", node.Name(), err)
		}
		if r.crosses(i) {
			r.round(r.lanes[i], out)
		}
		r.outs[i], r.kept[i] = out, kept
		r.own(r.lanes[i], out)
		for _, to := range r.readers(i) {
			if !r.local(to) {
				if err := r.send(ctx, i, r.key(i, to, false), out); err != nil {
					return fmt.Errorf("send output of %s: %w", node.Name(), err)
				}
			}
		}
	}
	return nil
}

func (r *passage) backward(ctx context.Context) error {
	g := r.walk.Graph
	// pending[i] holds the gradients of node i's output by reader.
	pending := make([]map[int]model.Edge, len(g.Nodes))
	for i := range pending {
		pending[i] = map[int]model.Edge{}
	}
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		if !r.local(i) {
			continue
		}
		l := r.lanes[i]
		for _, to := range r.readers(i) {
			if r.local(to) {
				continue
			}
			e, err := r.receive(ctx, i, r.key(to, i, true))
			if err != nil {
				return fmt.Errorf("receive gradient from %s: %w", g.Nodes[to].Name(), err)
			}
			pending[i][to] = e
			r.own(l, e)
		}
		dout := r.sum(l, pending[i], r.readers(i))
		din, err := g.Nodes[i].Backward(ctx, l, r.mb, r.kept[i], dout)
		r.kept[i] = nil
		if err != nil {
			return fmt.Errorf("%s backward: %w", g.Nodes[i].Name(), err)
		}
		if len(din) != len(g.Inputs[i]) {
			return fmt.Errorf("%s backward: %d gradients for %d inputs", g.Nodes[i].Name(), len(din), len(g.Inputs[i]))
		}
		for n, from := range g.Inputs[i] {
			if g.cut(from, i) {
				r.round(l, din[n])
			}
			r.own(l, din[n])
			if r.local(from) {
				pending[from][i] = din[n]
			} else if err := r.send(ctx, i, r.key(i, from, true), din[n]); err != nil {
				return fmt.Errorf("send gradient to %s: %w", g.Nodes[from].Name(), err)
			}
		}
	}
	return nil
}

// send hands an edge of node i to another rank.
func (r *passage) send(ctx context.Context, i int, k EdgeKey, e model.Edge) error {
	ctx, span := r.begin(ctx, i, "activations.send", k)
	err := r.walk.Exchange.Send(ctx, r.lanes[i], k, e)
	span.End(err)
	return err
}

// receive waits for an edge of node i from another rank.
func (r *passage) receive(ctx context.Context, i int, k EdgeKey) (model.Edge, error) {
	ctx, span := r.begin(ctx, i, "activations.recv", k)
	e, err := r.walk.Exchange.Recv(ctx, r.lanes[i], k)
	span.End(err)
	return e, err
}

// begin begins the span of an edge at node i.
func (r *passage) begin(ctx context.Context, i int, name string, k EdgeKey) (context.Context, *trace.Span) {
	carries := "output"
	if k.Gradient {
		carries = "gradient"
	}
	tower := r.walk.Graph.tower(i)
	return trace.Begin(ctx, tower, name, telemetry.Tower.String(tower), telemetry.Microbatch.Int(k.Microbatch), attribute.String("ressa.edge", carries))
}

// sum adds the gradients of the readers in ascending order. All readers return
// the same names, or nothing.
func (r *passage) sum(l *model.Lane, parts map[int]model.Edge, readers []int) model.Edge {
	var total model.Edge
	for _, to := range readers {
		e := parts[to]
		if len(e.Tensors) == 0 {
			continue
		}
		if len(total.Tensors) == 0 {
			total = e
			continue
		}
		for _, t := range e.Tensors {
			if into := total.Tensor(t.Name); into.IsZero() {
				total = total.With(t.Name, t.Tensor)
			} else {
				l.Stream.Add(into, into, t.Tensor)
			}
		}
	}
	return total
}

func (r *passage) synchronize(ctx context.Context) error {
	for i, l := range r.lanes {
		if r.local(i) {
			if err := l.Pool.Err(); err != nil {
				return fmt.Errorf("%s: out of device memory: %w", r.walk.Graph.Nodes[i].Name(), err)
			}
			if err := l.Stream.Synchronize(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *passage) key(from, to int, gradient bool) EdgeKey {
	return EdgeKey{Step: r.mb.Step, Microbatch: r.mb.Index, From: from, To: to, Gradient: gradient, Exact: !r.walk.Graph.cut(from, to)}
}

// crosses reports whether a node's output is read by another tower.
func (r *passage) crosses(i int) bool {
	return slices.ContainsFunc(r.readers(i), func(to int) bool { return r.walk.Graph.cut(i, to) })
}

func (r *passage) readers(i int) []int {
	var out []int
	for to, list := range r.walk.Graph.Inputs {
		for _, from := range list {
			if from == i {
				out = append(out, to)
			}
		}
	}
	return out
}

// round rounds an edge to the wire dtype, also where it stays in the process.
func (r *passage) round(l *model.Lane, e model.Edge) {
	if r.walk.Wire == kernels.F32 {
		return
	}
	for _, t := range e.Tensors {
		if t.Tensor.IsZero() {
			continue
		}
		short := l.Pool.Get(r.walk.Wire, t.Tensor.Rows, t.Tensor.Cols)
		l.Stream.Convert(short, t.Tensor)
		l.Stream.Convert(t.Tensor, short)
		l.Free(short)
	}
}

func (r *passage) own(l *model.Lane, e model.Edge) {
	if len(e.Tensors) > 0 {
		r.scratch = append(r.scratch, owned{l, e})
	}
}

func (r *passage) release() {
	for i, k := range r.kept {
		if k != nil {
			k.Release(r.lanes[i])
		}
	}
	for _, o := range r.scratch {
		for _, t := range o.edge.Tensors {
			o.lane.Free(t.Tensor)
		}
	}
}
