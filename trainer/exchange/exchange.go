package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ressa/collective/tensor"
	"ressa/coordinator/api/telemetry"
	"ressa/kernels"
	"ressa/trainer/model"
	"ressa/trainer/step"
	"ressa/trainer/trace"
)

// Messenger is what an exchange needs of a group.
type Messenger interface {
	Rank() int
	World() int
	Generation() uint64
	Send(ctx context.Context, to int, tag string, message []byte) error
	Recv(ctx context.Context, from int, tag string) ([]byte, error)
}

// Config says where nodes live and how edges travel.
type Config struct {
	Group Messenger
	Wire  kernels.DType // F32 or BF16, the same as the walk's; edges within a tower travel in F32
	// Rank returns the rank that computes a node of the graph for a microbatch.
	Rank    func(node, microbatch int) int
	Timeout time.Duration // of one edge, from the call to its end
	Prefix  string        // of the names of edges: exchanges of one group differ in it
}

// Exchange implements [step.Exchange] for one rank. It is safe for concurrent
// use by several lanes.
type Exchange struct {
	config Config
}

var _ step.Exchange = (*Exchange)(nil)

// New returns an exchange.
func New(c Config) (*Exchange, error) {
	if c.Wire != kernels.F32 && c.Wire != kernels.BF16 {
		return nil, fmt.Errorf("exchange: wire dtype %v, want fp32 or bf16", c.Wire)
	}
	if c.Group == nil || c.Rank == nil || c.Timeout <= 0 {
		return nil, errors.New("exchange: want a group, the ranks of nodes and a timeout")
	}
	return &Exchange{config: c}, nil
}

// Owns reports whether this rank computes a node for a microbatch, as [step.Walk]
// asks.
func (x *Exchange) Owns(node, microbatch int) bool {
	return x.config.Rank(node, microbatch) == x.config.Group.Rank()
}

// wire is the dtype in which an edge travels.
func (x *Exchange) wire(k step.EdgeKey) kernels.DType {
	if k.Exact {
		return kernels.F32
	}
	return x.config.Wire
}

// Send implements [step.Exchange]. Absent tensors do not travel.
func (x *Exchange) Send(ctx context.Context, l *model.Lane, k step.EdgeKey, e model.Edge) error {
	ctx, cancel := context.WithTimeout(ctx, x.config.Timeout)
	defer cancel()
	m := &tensor.Message{Header: x.header(k)}
	m.Trace = trace.Carrier(ctx)
	for _, t := range e.Tensors {
		if !t.Tensor.IsZero() {
			m.Arrays = append(m.Arrays, download(l, t, x.wire(k)))
		}
	}
	for _, v := range e.Ints {
		m.Ints = append(m.Ints, tensor.Ints{Name: v.Name, Values: v.Values})
	}
	if err := l.Stream.Synchronize(ctx); err != nil {
		return fmt.Errorf("edge %s: %w", m.Edge, err)
	}
	raw, err := tensor.Encode(nil, m)
	if err != nil {
		return fmt.Errorf("edge %s: %w", m.Edge, err)
	}
	to, err := x.rank(k.To, k.Microbatch)
	if err != nil {
		return err
	}
	trace.In(ctx).Set(telemetry.Bytes.Int(len(raw)), telemetry.Peer.Int(to))
	return x.config.Group.Send(ctx, to, x.tag(k), raw)
}

// download enqueues the copy of a tensor to the host in the wire dtype.
func download(l *model.Lane, t model.NamedTensor, wire kernels.DType) tensor.Array {
	rows, cols := t.Tensor.Rows, t.Tensor.Cols
	a := tensor.Array{Name: t.Name, DType: wire, Rows: rows, Cols: cols, Data: make([]byte, rows*cols*wire.Size())}
	if wire == t.Tensor.DType {
		l.Stream.Download(a.Data, t.Tensor)
		return a
	}
	short := l.Pool.Get(wire, rows, cols)
	l.Stream.Convert(short, t.Tensor)
	l.Stream.Download(a.Data, short)
	l.Free(short)
	return a
}

// Recv implements [step.Exchange]. The tensors are F32.
func (x *Exchange) Recv(ctx context.Context, l *model.Lane, k step.EdgeKey) (model.Edge, error) {
	ctx, cancel := context.WithTimeout(ctx, x.config.Timeout)
	defer cancel()
	from, err := x.rank(k.From, k.Microbatch)
	if err != nil {
		return model.Edge{}, err
	}
	raw, err := x.config.Group.Recv(ctx, from, x.tag(k))
	if err != nil {
		return model.Edge{}, err
	}
	m, err := tensor.Decode(raw, tensor.Want{Header: x.header(k)})
	if err != nil {
		return model.Edge{}, err
	}
	trace.In(ctx).Set(telemetry.Bytes.Int(len(raw)), telemetry.Peer.Int(from))
	trace.In(ctx).Follow(m.Trace)
	for _, a := range m.Arrays {
		if a.DType != x.wire(k) {
			return model.Edge{}, fmt.Errorf("edge %s: tensor %q came as %v, want %v: %w", m.Edge, a.Name, a.DType, x.wire(k), tensor.ErrShape)
		}
	}
	var e model.Edge
	for _, a := range m.Arrays {
		e = e.With(a.Name, upload(l, a))
	}
	for _, v := range m.Ints {
		e.Ints = append(e.Ints, model.NamedInts{Name: v.Name, Values: v.Values})
	}
	// The message's memory ends with this call.
	if err := l.Stream.Synchronize(ctx); err != nil {
		for _, t := range e.Tensors {
			l.Free(t.Tensor)
		}
		return model.Edge{}, fmt.Errorf("edge %s: %w", m.Edge, err)
	}
	return e, nil
}

// upload enqueues the copy of an array to an F32 tensor of the lane's pool.
func upload(l *model.Lane, a tensor.Array) kernels.Tensor {
	t := l.Scratch(a.Rows, a.Cols)
	if a.DType == kernels.F32 {
		l.Stream.Upload(t, a.Data)
		return t
	}
	short := l.Pool.Get(a.DType, a.Rows, a.Cols)
	l.Stream.Upload(short, a.Data)
	l.Stream.Convert(t, short)
	l.Free(short)
	return t
}

func (x *Exchange) rank(node, microbatch int) (int, error) {
	r := x.config.Rank(node, microbatch)
	if r < 0 || r >= x.config.Group.World() {
		return 0, fmt.Errorf("exchange: node %d of microbatch %d is on rank %d of %d", node, microbatch, r, x.config.Group.World())
	}
	return r, nil
}

func (x *Exchange) header(k step.EdgeKey) tensor.Header {
	return tensor.Header{Generation: x.config.Group.Generation(), Step: k.Step, Microbatch: k.Microbatch, Edge: x.edge(k)}
}

// edge names the edge between two nodes, gradients apart.
func (x *Exchange) edge(k step.EdgeKey) string {
	if k.Gradient {
		return fmt.Sprintf("%sgradient %d>%d", x.config.Prefix, k.From, k.To)
	}
	return fmt.Sprintf("%soutput %d>%d", x.config.Prefix, k.From, k.To)
}

// tag names one crossing: no two messages between two ranks share it.
func (x *Exchange) tag(k step.EdgeKey) string {
	return fmt.Sprintf("%s/%d/%d", x.edge(k), k.Step, k.Microbatch)
}
