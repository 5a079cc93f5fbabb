package allreduce

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ressa/collective/reduce"
	"ressa/collective/vector"
	"ressa/kernels"
)

// Messenger is what a reducer needs of a group.
type Messenger interface {
	Rank() int
	World() int
	// Send returns when rank to has received all of message.
	Send(ctx context.Context, to int, tag string, message []byte) error
	// RecvInto waits for the next message of a rank and tag, writes it to the start
	// of buf and returns its length. One that is longer than buf is an error.
	RecvInto(ctx context.Context, from int, tag string, buf []byte) (int, error)
}

// Options size a reducer.
type Options struct {
	// Segment is the number of elements that travel and are summed at a time,
	// rounded up to a multiple of 64.
	Segment int
	// Depth is how many segments of each owner's part are on the way at once.
	Depth int
}

// DefaultOptions returns the sizes that were measured to be best.
func DefaultOptions() Options { return Options{Segment: 128 << 10, Depth: 4} }

// Reducer computes reductions for one rank of a group. It is safe for concurrent
// use; it keeps the memory of its segments between calls.
type Reducer struct {
	messenger Messenger
	segment   int
	depth     int
	scratch   scratch
}

// New returns a reducer.
func New(m Messenger, o Options) (*Reducer, error) {
	if m == nil || o.Segment < 1 || o.Segment > 1<<28 || o.Depth < 1 {
		return nil, fmt.Errorf("allreduce: segments of %d elements, %d at once, want a messenger and positive sizes", o.Segment, o.Depth)
	}
	r := &Reducer{messenger: m, segment: (o.Segment + 63) / 64 * 64, depth: o.Depth}
	r.scratch.elements = r.segment
	return r, nil
}

// AllReduce sums the parts of all members along the tree and writes the sum to
// out on every member. parts are the sub-trees that [Reduction.Cover] names for
// this rank, in that order; a rank that computed no leaf gives none. They are not
// changed, but out may be the memory of one of them. The context must have a
// deadline.
func (r *Reducer) AllReduce(ctx context.Context, d Reduction, parts []Part, out []float32) error {
	_, err := r.reduce(ctx, &d, parts, out, true)
	return err
}

// ReduceScatter is the first half of [Reducer.AllReduce]: out[lo:hi] is the sum
// of the part that this rank owns, the rest of out is left alone.
func (r *Reducer) ReduceScatter(ctx context.Context, d Reduction, parts []Part, out []float32) (lo, hi int, err error) {
	own, err := r.reduce(ctx, &d, parts, out, false)
	if err != nil || len(own) == 0 {
		return 0, 0, err
	}
	return own[0].lo, own[len(own)-1].hi, nil
}

// reduce returns the segments of this rank's own part.
func (r *Reducer) reduce(ctx context.Context, d *Reduction, parts []Part, out []float32, back bool) (own []span, err error) {
	rank, world := r.messenger.Rank(), r.messenger.World()
	defer func() {
		if err != nil {
			err = fmt.Errorf("all-reduce %q: %w", d.Key, err)
		}
	}()
	if err := d.check(rank, world); err != nil {
		return nil, err
	}
	if err := d.checkParts(rank, parts); err != nil {
		return nil, err
	}
	if len(out) != d.Len {
		return nil, fmt.Errorf("result of %d elements, want %d", len(out), d.Len)
	}
	c := &call{Reducer: r, reduction: d, layout: d.lay(world, r.segment), parts: parts, out: out, back: back}
	c.sources = c.layout.sources()
	c.me = c.layout.index(rank)
	if c.program, err = c.compile(); err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range c.layout.members {
		// All ranks go through an owner's segments in the same order: the first one
		// that is not done is worked on everywhere, so that nobody waits in a circle.
		owner := (c.me + i) % len(c.layout.members)
		var next atomic.Int64
		depth := r.depth
		if owner == c.me {
			depth *= 2 // asked for before they are sent, slices are read to where they belong
		}
		for range min(depth, len(c.layout.parts[owner])) {
			group.Go(func() error {
				for ctx.Err() == nil {
					n := int(next.Add(1)) - 1
					if n >= len(c.layout.parts[owner]) {
						return nil
					}
					if err := c.run(ctx, owner, n); err != nil {
						return err
					}
				}
				return context.Cause(ctx)
			})
		}
	}
	return c.layout.parts[c.me], group.Wait()
}

// call is one reduction on its way.
type call struct {
	*Reducer
	reduction *Reduction
	layout    *layout
	me        int // among the members
	parts     []Part
	out       []float32
	back      bool // the sums go back to all members
	sources   []source
	program   []instruction
}

// run does this rank's work for one segment.
func (c *call) run(ctx context.Context, owner, n int) error {
	s := c.layout.parts[owner][n]
	if s.kept == 0 {
		clear(c.out[s.lo:s.hi])
		return nil
	}
	if owner == c.me {
		return c.own(ctx, n, s)
	}
	return c.contribute(ctx, owner, n, s)
}

func (c *call) upTag(owner, n, sub int) string {
	return fmt.Sprintf("%s/%d.%d+%d", c.reduction.Key, owner, n, sub)
}

func (c *call) downTag(owner, n int) string {
	return fmt.Sprintf("%s/%d.%d=", c.reduction.Key, owner, n)
}

// upType returns the dtype in which a sub-tree's sum travels. A whole tree below no
// edge has not been rounded.
func (c *call) upType(s reduce.Subtree) kernels.DType {
	if s == reduce.Root(len(c.reduction.Owners)) {
		return c.downType()
	}
	return c.reduction.Wire
}

// downType returns the dtype in which the sum goes back.
func (c *call) downType() kernels.DType {
	if c.reduction.ExactRoot {
		return kernels.F32
	}
	return c.reduction.Wire
}

// contribute sends this rank's slices of a segment to its owner and receives the
// sum. In this order: out may be the memory of what is sent.
func (c *call) contribute(ctx context.Context, owner, n int, s span) error {
	to := c.layout.members[owner]
	for i, p := range c.parts {
		if err := c.sendSlice(ctx, to, c.upTag(owner, n, i), s, p); err != nil {
			return err
		}
	}
	if !c.back {
		return nil
	}
	d := c.downType()
	if d == kernels.F32 && c.reduction.Keep == nil {
		return c.receive(ctx, to, c.downTag(owner, n), vector.Bytes(c.out[s.lo:s.hi]))
	}
	b := c.scratch.get()
	defer c.scratch.put(b)
	if err := c.receive(ctx, to, c.downTag(owner, n), vector.Wire(b, d, s.kept)); err != nil {
		return err
	}
	return c.unpack(s, b, d)
}

// sendSlice sends one sub-tree's slice of a segment.
func (c *call) sendSlice(ctx context.Context, to int, tag string, s span, p Part) error {
	d, v := c.upType(p.Subtree), p.Value[s.lo:s.hi]
	if d == kernels.F32 && c.reduction.Keep == nil {
		return c.messenger.Send(ctx, to, tag, vector.Bytes(v))
	}
	b := c.scratch.get()
	defer c.scratch.put(b)
	packed := v
	if c.reduction.Keep != nil {
		packed = b[:s.kept]
		vector.Pack(packed, v, c.reduction.Keep.of(s))
	}
	if d == kernels.BF16 {
		vector.ToBF16(vector.Halves(b, s.kept), packed) // front to back: in place works
	}
	return c.messenger.Send(ctx, to, tag, vector.Wire(b, d, s.kept))
}

// unpack writes a packed segment of the sum to the result.
func (c *call) unpack(s span, b []float32, d kernels.DType) error {
	out := c.out[s.lo:s.hi]
	if c.reduction.Keep == nil {
		vector.FromBF16(out, vector.Halves(b, s.kept))
		return nil
	}
	packed := b[:s.kept]
	if d == kernels.BF16 {
		wide := c.scratch.get()
		defer c.scratch.put(wide)
		packed = wide[:s.kept]
		vector.FromBF16(packed, vector.Halves(b, s.kept))
	}
	vector.Unpack(out, packed, c.reduction.Keep.of(s))
	return nil
}

func (c *call) receive(ctx context.Context, from int, tag string, buf []byte) error {
	n, err := c.messenger.RecvInto(ctx, from, tag, buf)
	if err == nil && n != len(buf) {
		err = fmt.Errorf("%q from rank %d has %d bytes, want %d: the ranks disagree about the reduction", tag, from, n, len(buf))
	}
	return err
}

// scratch recycles the memory of segments.
type scratch struct {
	elements int
	mu       sync.Mutex
	free     [][]float32
}

func (s *scratch) get() []float32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return make([]float32, s.elements)
}

func (s *scratch) put(b []float32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, b)
}
