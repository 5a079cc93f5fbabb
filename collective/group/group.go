package group

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Group is one rank's membership in one generation. Its methods are safe for
// concurrent use.
type Group struct {
	config       Config
	subscription *nats.Subscription
	done         chan struct{} // closed when err is set
	handling     sync.Mutex    // held while a frame is handled, its answers included

	mu       sync.Mutex
	err      error // why the group ended
	nextID   uint64
	welcomed map[int]chan struct{} // by rank: closed when it answered
	outgoing map[uint64]*outgoing  // by message id
	incoming map[messageKey]*incoming
	boxes    map[boxKey]*box
	eager    []int // by rank: bytes received and not asked for
	barriers int   // passed by this rank
}

// Intervals of the group's own upkeep.
const (
	helloInterval = 50 * time.Millisecond
	flushTimeout  = time.Second
)

// Join subscribes this rank and waits until every other rank of the generation
// answers. Messages are never lost to a rank that is not listening yet.
func Join(ctx context.Context, c Config) (*Group, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := bounded(ctx); err != nil {
		return nil, fmt.Errorf("group: join: %w", err)
	}
	g := &Group{config: c, done: make(chan struct{}), welcomed: map[int]chan struct{}{}, outgoing: map[uint64]*outgoing{},
		incoming: map[messageKey]*incoming{}, boxes: map[boxKey]*box{}, eager: make([]int, c.World)}
	for r := range c.World {
		if r != c.Rank {
			g.welcomed[r] = make(chan struct{})
		}
	}
	var err error
	if g.subscription, err = c.Listen.Subscribe(c.subject(c.Rank), func(m *nats.Msg) { g.receive(m.Data) }); err != nil {
		return nil, fmt.Errorf("group: subscribe rank %d: %w", c.Rank, err)
	}
	// The window bounds what is pending; the client's own limit would drop chunks.
	if err := g.subscription.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("group: subscribe rank %d: %w", c.Rank, err)
	}
	if err := c.Listen.FlushWithContext(ctx); err != nil {
		g.Close()
		return nil, fmt.Errorf("group: subscribe rank %d: %w", c.Rank, err)
	}
	if err := g.greet(ctx); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// greet says hello to every rank until it answers.
func (g *Group) greet(ctx context.Context) error {
	again := time.NewTicker(helloInterval)
	defer again.Stop()
	for r := range g.config.World {
		if r == g.config.Rank {
			continue
		}
		for answered := false; !answered; {
			if err := g.publish(r, frame{kind: kindHello}); err != nil {
				return err
			}
			select {
			case <-g.welcomed[r]:
				answered = true
			case <-again.C:
			case <-g.done:
				return g.Err()
			case <-ctx.Done():
				return fmt.Errorf("group: rank %d of %d waits for rank %d: %w", g.config.Rank, g.config.World, r, context.Cause(ctx))
			}
		}
	}
	return nil
}

// Rank returns this rank.
func (g *Group) Rank() int { return g.config.Rank }

// World returns the number of ranks.
func (g *Group) World() int { return g.config.World }

// Generation returns the group's generation.
func (g *Group) Generation() uint64 { return g.config.Generation }

// Done is closed when the group has ended; Err tells why.
func (g *Group) Done() <-chan struct{} { return g.done }

// Err returns why the group ended: an [AbortError], [ErrSuperseded] or
// [ErrClosed]; nil while it lives.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Abort ends the group for all ranks: every call that waits, and every later
// one, returns an [AbortError] with the reason. It sends one message a rank and
// waits for no answer; the first abort counts.
func (g *Group) Abort(reason error) {
	text := reason.Error()
	text = text[:min(len(text), maxReason)]
	if !g.end(&AbortError{Rank: g.config.Rank, Reason: text, cause: reason}) {
		return
	}
	g.tellAll(frame{kind: kindAbort, payload: []byte(text)})
}

// Close leaves the group; calls that wait return [ErrClosed]. The connections
// stay open: they are the caller's.
func (g *Group) Close() {
	g.end(ErrClosed)
	if err := g.subscription.Unsubscribe(); err != nil {
		g.config.Logger.Debug("unsubscribe", "rank", g.config.Rank, "error", err)
	}
	// A message is the caller's a moment before its acknowledgement is published:
	// without the wait its sender could miss it.
	g.handling.Lock()
	defer g.handling.Unlock()
	g.flush() // the last acknowledgements
}

func (g *Group) tellAll(f frame) {
	for r := range g.config.World {
		if r == g.config.Rank {
			continue
		}
		if err := g.publish(r, f); err != nil {
			g.config.Logger.Warn("peer not told of the abort", "peer", r, "error", err)
		}
	}
	g.flush()
}

func (g *Group) flush() {
	flushed := map[*nats.Conn]bool{}
	for r := range g.config.World {
		if c := g.config.peer(r); r != g.config.Rank && !flushed[c] {
			flushed[c] = true
			if err := c.FlushTimeout(flushTimeout); err != nil {
				g.config.Logger.Debug("flush", "peer", r, "error", err)
			}
		}
	}
}

// end sets the reason for the end, once.
func (g *Group) end(err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return false
	}
	g.err = err
	close(g.done)
	return true
}

// publish sends a frame of this rank to rank to.
func (g *Group) publish(to int, f frame) error {
	f.from, f.generation = g.config.Rank, g.config.Generation
	b := f.append(make([]byte, 0, headerSize+len(f.tag)+len(f.payload)))
	if err := g.config.peer(to).Publish(g.config.subject(to), b); err != nil {
		return fmt.Errorf("group: send to rank %d: %w", to, err)
	}
	return nil
}

// receive handles one frame. NATS calls it from one goroutine, in the order in
// which each sender published.
func (g *Group) receive(b []byte) {
	g.handling.Lock()
	defer g.handling.Unlock()
	if g.Err() != nil {
		return
	}
	f, err := parseFrame(b)
	if err != nil {
		// Whose message it was cannot be told: nothing after it can be trusted.
		g.Abort(fmt.Errorf("rank %d received: %w", g.config.Rank, err))
		return
	}
	switch {
	case f.generation > g.config.Generation:
		g.end(fmt.Errorf("group: generation %d, rank %d is of %d: %w", f.generation, f.from, g.config.Generation, ErrSuperseded))
		return
	case f.generation < g.config.Generation:
		g.config.Logger.Debug("dropped a frame of an older generation", "generation", f.generation, "from", f.from)
		if f.from < g.config.World && f.from != g.config.Rank && f.kind != kindWelcome {
			g.reply(f.from, frame{kind: kindWelcome}) // of this generation: its group will end
		}
		return
	case f.from >= g.config.World || f.from == g.config.Rank:
		g.Abort(fmt.Errorf("rank %d received a frame from rank %d of %d", g.config.Rank, f.from, g.config.World))
		return
	}
	switch f.kind {
	case kindHello:
		g.reply(f.from, frame{kind: kindWelcome})
	case kindWelcome:
		g.mu.Lock()
		select {
		case <-g.welcomed[f.from]:
		default:
			close(g.welcomed[f.from])
		}
		g.mu.Unlock()
	case kindData:
		g.receiveChunk(f)
	case kindCancel:
		g.receiveCancel(f)
	case kindAck, kindRefuse:
		g.receiveAnswer(f)
	case kindAbort:
		g.end(&AbortError{Rank: f.from, Reason: string(f.payload[:min(len(f.payload), maxReason)])})
	}
}

// reply sends a frame from the receiving goroutine; a failure shows as a peer
// that misses its deadline.
func (g *Group) reply(to int, f frame) {
	if err := g.publish(to, f); err != nil {
		g.config.Logger.Warn("reply", "peer", to, "error", err)
	}
}

// bounded refuses contexts that never end.
func bounded(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		return ErrNoDeadline
	}
	return nil
}
