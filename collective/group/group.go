package group

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ressa/collective/plane"
)

// Group is one rank's membership in one generation. Its methods are safe for
// concurrent use.
type Group struct {
	config  Config
	session uint64 // of this membership: a rank that joins twice is told from one that repeats itself
	peers   []*peer
	stop    []func()       // subscriptions
	calls   sync.WaitGroup // frames being handled
	done    chan struct{}  // closed when err is set
	heads   sync.Pool      // *[headerSize + maxTag]byte

	mu       sync.Mutex
	err      error // why the group ended
	joined   bool
	boxes    map[boxKey]*box
	outgoing map[messageKey]*outgoing
	barriers int // passed by this rank
}

// Intervals of the group's own upkeep.
const (
	helloInterval = 50 * time.Millisecond
	flushTimeout  = time.Second
)

// Join subscribes this rank on all its connections and waits until every other rank
// of the generation answers on one of them. Messages are never lost to a rank that
// is not listening yet.
func Join(ctx context.Context, c Config) (*Group, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := bounded(ctx); err != nil {
		return nil, fmt.Errorf("group: join: %w", err)
	}
	g := &Group{config: c, done: make(chan struct{}), boxes: map[boxKey]*box{}, outgoing: map[messageKey]*outgoing{}, peers: make([]*peer, c.World)}
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, fmt.Errorf("group: join: %w", err)
	}
	g.session = binary.LittleEndian.Uint64(raw[:])
	for r := range c.World {
		if r != c.Rank {
			g.peers[r] = g.newPeer(r)
		}
	}
	if err := g.join(ctx); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Group) join(ctx context.Context) error {
	for _, conn := range g.config.conns() {
		stop, err := conn.Subscribe(g.config.subject(g.config.Rank), g.receive)
		if err != nil {
			return fmt.Errorf("group: subscribe rank %d: %w", g.config.Rank, err)
		}
		g.stop = append(g.stop, stop)
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, p := range g.peers {
		if p != nil {
			all.Go(func() error { return g.greet(ctx, p) })
		}
	}
	err := all.Wait()
	g.mu.Lock()
	g.joined = true
	g.mu.Unlock()
	return err
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
	for _, stop := range g.stop {
		stop()
	}
	handled := make(chan struct{})
	go func() { g.calls.Wait(); close(handled) }()
	select {
	case <-handled: // what was received is acknowledged
	case <-time.After(flushTimeout):
	}
	g.flush()
}

// tellAll sends a frame to every rank, on all paths, and does not wait long for a
// connection that takes nothing.
func (g *Group) tellAll(f frame) {
	told := make(chan struct{})
	var all sync.WaitGroup
	for _, p := range g.peers {
		if p == nil {
			continue
		}
		all.Go(func() {
			if err := g.publishAll(p, f); err != nil {
				g.config.Logger.Warn("peer not told of the abort", "peer", p.rank, "error", err)
			}
		})
	}
	go func() { all.Wait(); close(told) }()
	select {
	case <-told:
	case <-time.After(flushTimeout):
	}
	g.flush()
}

// flush empties the connections' own buffers, all at once.
func (g *Group) flush() {
	var all sync.WaitGroup
	for _, c := range g.config.conns() {
		all.Go(func() {
			if err := c.Flush(flushTimeout); err != nil {
				g.config.Logger.Debug("flush", "rank", g.config.Rank, "error", err)
			}
		})
	}
	all.Wait()
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

// receive handles one frame. Each connection calls it for one after the other, in
// the order in which each sender published on it.
func (g *Group) receive(d *plane.Delivery) {
	g.mu.Lock()
	ended := g.err != nil
	if !ended {
		g.calls.Add(1)
	}
	g.mu.Unlock()
	if ended {
		return
	}
	defer g.calls.Done()
	f, err := readHead(d, d.Size())
	switch {
	case errors.Is(err, ErrCorrupt):
		// Whose message it was cannot be told: nothing after it can be trusted.
		g.abortLater(fmt.Errorf("rank %d received: %w", g.config.Rank, err))
		return
	case err != nil:
		return // the connection broke: the frame is lost
	case f.generation > g.config.Generation:
		g.end(fmt.Errorf("group: generation %d, rank %d is of %d: %w", f.generation, f.from, g.config.Generation, ErrSuperseded))
		return
	case f.generation < g.config.Generation:
		g.config.Logger.Debug("dropped a frame of an older generation", "generation", f.generation, "from", f.from)
		if f.from < g.config.World && f.from != g.config.Rank && f.kind != kindWelcome {
			_ = g.publishAll(g.peers[f.from], frame{kind: kindWelcome}) // of this generation: its group will end
		}
		return
	case f.from >= g.config.World || f.from == g.config.Rank:
		g.abortLater(fmt.Errorf("rank %d received a frame from rank %d of %d", g.config.Rank, f.from, g.config.World))
		return
	}
	p := g.peers[f.from]
	if f.kind == kindData {
		g.receiveChunk(p, f, d)
		return
	}
	f.payload = make([]byte, f.size)
	if err := f.readPayload(d, f.payload); err != nil {
		if errors.Is(err, ErrCorrupt) {
			g.abortLater(fmt.Errorf("rank %d received: %w", g.config.Rank, err))
		}
		return
	}
	switch f.kind {
	case kindHello:
		g.receiveHello(p, f)
	case kindWelcome:
		g.welcome(p, f)
	case kindProbe:
		g.receiveProbe(p, f)
	case kindCancel:
		g.receiveCancel(p, f)
	case kindAck, kindHave, kindRefuse:
		g.receiveAnswer(p, f)
	case kindAbort:
		g.end(&AbortError{Rank: f.from, Reason: string(f.payload)})
	}
}

// receiveHello answers on all paths: which of them leads back is not known yet.
func (g *Group) receiveHello(p *peer, f frame) {
	g.mu.Lock()
	again := g.joined && p.session != 0 && p.session != f.id
	p.session = f.id
	g.mu.Unlock()
	if again { // what it has sent and received is gone
		g.abortLater(fmt.Errorf("rank %d joined generation %d a second time", p.rank, g.config.Generation))
		return
	}
	_ = g.publishAll(p, frame{kind: kindWelcome, path: f.path, total: f.total})
}

// abortLater aborts from the goroutine that receives, which must not wait.
func (g *Group) abortLater(reason error) {
	g.mu.Lock()
	g.calls.Add(1) // Close waits until all are told
	g.mu.Unlock()
	go func() {
		defer g.calls.Done()
		g.Abort(reason)
	}()
}

// bounded refuses contexts that never end.
func bounded(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		return ErrNoDeadline
	}
	return nil
}
