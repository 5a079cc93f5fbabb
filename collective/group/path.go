package group

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ressa/collective/plane"
)

// Ways on which a rank is reached.
const (
	Direct  = "direct"  // its server was dialled
	Reverse = "reverse" // it dialled this rank's server, and its own could not be dialled
	Hub     = "hub"     // both are connected to a hub
)

// path is one way to a peer.
type path struct {
	name string // as Reach tells it
	conn plane.Conn
}

// peer is another rank as this one sees it. The group's lock guards what changes.
type peer struct {
	rank    int
	subject string               // where it listens
	paths   []path               // best first
	most    int                  // bytes that may be on the way to it
	way     int                  // bytes that are
	freed   chan struct{}        // closed when they are fewer
	session uint64               // that it said hello with
	chosen  int                  // index of the path in use; < 0: not known, all are tried
	before  int                  // what was chosen before
	round   uint64               // of the present choice
	asked   time.Time            // when that choice began
	found   chan struct{}        // closed when a path was first chosen
	answers map[int]bool         // Join: paths that were answered
	changed chan struct{}        // holds a token after an answer came
	nextID  uint64               // of messages to it
	active  []uint64             // messages to it under way, ascending
	eager   int                  // bytes received from it and not asked for
	oldest  uint64               // all its messages before this one have ended there
	ended   map[uint64]fate      // messages from it that ended here
	coming  map[uint64]*incoming // messages from it on their way
}

func (g *Group) newPeer(rank int) *peer {
	c := &g.config
	p := &peer{rank: rank, subject: c.subject(rank), chosen: -1, found: make(chan struct{}), answers: map[int]bool{}, changed: make(chan struct{}, 1), freed: make(chan struct{}),
		ended: map[uint64]fate{}, coming: map[uint64]*incoming{}}
	// A peer that subscribes on this rank's own server costs least: a frame goes
	// through that server in one piece and is read from the network to where it
	// belongs.
	if c.Peers != nil && c.Peers[rank] != nil && c.Peers[rank] != c.Listen {
		p.paths = append(p.paths, path{Direct, c.Listen}, path{Direct, c.Peers[rank]})
	} else {
		p.paths = append(p.paths, path{Reverse, c.Listen})
	}
	if c.Hub != nil && c.Hub != c.Listen {
		p.paths = append(p.paths, path{Hub, c.Hub})
	}
	p.most = max(c.InFlight/max(1, c.World-1), 1)
	return p
}

// wake lets the Sends that wait for room or a path look again.
func (p *peer) wake() {
	close(p.freed)
	p.freed = make(chan struct{})
}

// Reach returns how rank r is reached now: [Direct], [Reverse] or [Hub]; "" for this
// rank itself and while it is not known.
func (g *Group) Reach(r int) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.peers[r]; p != nil && p.chosen >= 0 {
		return p.paths[p.chosen].name
	}
	return ""
}

// pathSettle is how long after the first answer a better path is waited for.
const pathSettle = 300 * time.Millisecond

// greet says hello to a rank on all paths until it answers and the best path is
// known.
func (g *Group) greet(ctx context.Context, p *peer) error {
	again := time.NewTicker(helloInterval)
	defer again.Stop()
	var settle <-chan time.Time
	settled := false
	for {
		g.hello(p)
		select {
		case <-again.C:
			continue
		case <-p.changed:
		case <-settle:
			settled = true
		case <-g.done:
			return g.Err()
		case <-ctx.Done():
			return fmt.Errorf("group: join as rank %d of %d: %w", g.config.Rank, g.config.World, &UnreachedError{p.rank, context.Cause(ctx)})
		}
		if settle == nil {
			settle = time.After(pathSettle)
		}
		g.mu.Lock()
		best := len(p.paths)
		for i := range p.answers {
			best = min(best, i)
		}
		if best == len(p.paths) || best > 0 && !settled {
			g.mu.Unlock()
			continue // a better one may still answer
		}
		p.chosen, p.before = best, best
		close(p.found)
		g.mu.Unlock()
		g.config.Logger.Debug("peer reached", "rank", g.config.Rank, "peer", p.rank, "path", p.paths[best].name)
		return nil
	}
}

// hello asks on all paths of a peer for an answer, in its present round.
func (g *Group) hello(p *peer) {
	g.mu.Lock()
	round := p.round
	g.mu.Unlock()
	for i := range p.paths {
		_ = g.publishOn(p, i, frame{kind: kindHello, path: uint8(i), id: g.session, total: round})
	}
}

// welcome handles an answer to a hello: the first one of a round, or one on a better
// path, decides.
func (g *Group) welcome(p *peer, f frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := int(f.path)
	if i >= len(p.paths) || f.total != p.round {
		return
	}
	select {
	case <-p.found:
		if p.chosen < 0 || i < p.chosen {
			if i != p.before {
				g.config.Logger.Info("peer reached another way", "rank", g.config.Rank, "peer", p.rank, "path", p.paths[i].name, "before", p.paths[p.before].name)
			}
			p.chosen, p.before = i, i
			p.wake()
		}
	default:
		p.answers[i] = true
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// search begins a new choice of the path to a peer, or asks again in one that is under
// way, at most once in RetryAfter. Meanwhile frames go out on all of them.
func (g *Group) search(p *peer) {
	g.mu.Lock()
	select {
	case <-p.found:
	default:
		g.mu.Unlock()
		return // Join is about it
	}
	if time.Since(p.asked) < g.config.RetryAfter {
		g.mu.Unlock()
		return
	}
	p.asked = time.Now()
	if p.chosen >= 0 { // an answer that is late still tells of a way that works
		p.round++
		p.chosen = -1
	}
	g.mu.Unlock()
	g.hello(p)
}

// publish sends a frame of this rank to a peer, on the path in use.
func (g *Group) publish(p *peer, f frame) error {
	g.mu.Lock()
	chosen := p.chosen
	g.mu.Unlock()
	if chosen < 0 {
		return g.publishAll(p, f)
	}
	err := g.publishOn(p, chosen, f)
	if err != nil {
		g.search(p)
	}
	return err
}

// publishAll sends a frame on all paths; it fails if none of them takes it.
func (g *Group) publishAll(p *peer, f frame) error {
	var errs []error
	for i := range p.paths {
		if err := g.publishOn(p, i, f); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) < len(p.paths) {
		return nil
	}
	return errors.Join(errs...)
}

func (g *Group) publishOn(p *peer, i int, f frame) error {
	f.from, f.generation = g.config.Rank, g.config.Generation
	room, _ := g.heads.Get().(*[headerSize + maxTag]byte)
	if room == nil {
		room = new([headerSize + maxTag]byte)
	}
	defer g.heads.Put(room)
	if err := p.paths[i].conn.Publish(p.subject, f.appendHead(room[:0]), f.payload); err != nil {
		return fmt.Errorf("group: send to rank %d, %s: %w", p.rank, p.paths[i].name, err)
	}
	return nil
}

// reply sends a frame that nobody waits for; a failure shows as a peer that misses
// its deadline.
func (g *Group) reply(p *peer, f frame) {
	if err := g.publish(p, f); err != nil {
		g.config.Logger.Debug("reply", "peer", p.rank, "error", err)
	}
}
