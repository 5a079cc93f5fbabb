package group

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// outgoing is a message on its way out. The group's lock guards what answers change;
// the rest belongs to its Send.
type outgoing struct {
	had      uint64 // bytes that the receiver has, in order; size + 1 when it has all
	acked    uint64 // the same, and it has made room for more
	gap      bool   // a chunk is missing there
	answer   uint64 // number of the last probe that was answered
	refused  error
	progress chan struct{} // holds one token after an answer came

	p       *peer
	id      uint64
	tag     string
	message []byte
	sent    uint64 // bytes that were published, in order
	begun   bool   // the first chunk was: it may be empty
	way     int    // bytes of p.way that are this message's
	probes  uint64 // number of the last probe
	probing uint64 // number of the first one since chunks were sent; 0: chunks may be sent
	broken  error  // of the connection, the last time
}

// brokenRetry is how long a connection that failed is left alone.
const brokenRetry = 100 * time.Millisecond

// Send passes message to rank to under a tag and returns when that rank has
// received all of it. The receiver need not have called Recv, unless it holds
// more than EagerBytes that nobody asked for. message must not change meanwhile.
// What a broken connection swallowed is sent again.
func (g *Group) Send(ctx context.Context, to int, tag string, message []byte) error {
	if err := g.checkPeer(ctx, to, tag); err != nil {
		return fmt.Errorf("group: send %q to rank %d: %w", tag, to, err)
	}
	if len(message) > g.config.MaxMessage {
		return fmt.Errorf("group: send %q to rank %d: %d bytes, at most %d: %w", tag, to, len(message), g.config.MaxMessage, ErrTooLarge)
	}
	out := &outgoing{p: g.peers[to], tag: tag, message: message, progress: make(chan struct{}, 1)}
	g.begin(out)
	err := g.transfer(ctx, out)
	g.finishSend(out)
	if err != nil {
		if out.refused == nil && g.Err() == nil {
			g.reply(out.p, frame{kind: kindCancel, id: out.id, tag: tag})
		}
		return fmt.Errorf("group: send %q to rank %d: %w", tag, to, err)
	}
	return nil
}

func (g *Group) begin(out *outgoing) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := out.p
	p.nextID++
	out.id = p.nextID
	p.active = append(p.active, out.id)
	g.outgoing[messageKey{p.rank, out.id}] = out
}

func (g *Group) finishSend(out *outgoing) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := out.p
	g.free(out, out.way)
	delete(g.outgoing, messageKey{p.rank, out.id})
	if i, ok := slices.BinarySearch(p.active, out.id); ok {
		p.active = slices.Delete(p.active, i, i+1)
	}
}

// transfer sends until the receiver has everything.
func (g *Group) transfer(ctx context.Context, out *outgoing) error {
	retry := time.NewTimer(g.config.RetryAfter)
	defer retry.Stop()
	silent := 0 // times that nothing was heard
	for {
		step, err := g.next(out)
		if err != nil || step.done {
			return err
		}
		switch {
		case step.probe:
			g.probe(out, 0)
			continue
		case step.send:
			out.broken = g.publish(out.p, step.chunk)
			if out.broken == nil {
				select { // between chunks too: an abort need not wait for the window
				case <-g.done:
					return g.Err()
				default:
				}
				continue
			}
			// Whether it left is not known: ask before the next one.
			out.probes++
			out.probing = out.probes
			retry.Reset(min(brokenRetry, g.config.RetryAfter))
		}
		select {
		case <-out.progress:
			silent = 0
			retry.Reset(g.config.RetryAfter)
		case <-step.freed:
		case <-retry.C:
			if silent++; silent > 1 || step.search {
				g.search(out.p)
			}
			g.probe(out, silent)
			retry.Reset(g.config.RetryAfter)
		case <-g.done:
			return g.Err()
		case <-ctx.Done():
			return g.expired(ctx, out)
		}
	}
}

// step is what a Send does next; if nothing of it is set, it waits for progress or
// until room is freed.
type step struct {
	done   bool
	probe  bool
	send   bool
	chunk  frame // to send
	freed  <-chan struct{}
	search bool // for a path: the question, or its answer, may have been lost
}

// next decides what a Send does next and takes what it needs for that.
func (g *Group) next(out *outgoing) (step, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, total := out.p, uint64(len(out.message))
	switch {
	case out.refused != nil:
		return step{}, out.refused
	case out.acked > total:
		return step{done: true}, nil
	case out.probing > 0 && out.answer >= out.probing:
		// The question followed the chunks: what has not come by now is lost.
		if out.had < out.sent || out.had == 0 {
			out.sent, out.begun = out.had, out.had > 0
		}
		out.probing, out.gap = 0, false
	case out.probing == 0 && out.gap:
		return step{probe: true}, nil
	}
	g.free(out, out.way-int(out.sent-min(out.had, out.sent)))
	if out.probing > 0 || out.begun && out.sent >= total {
		return step{}, nil
	}
	if p.chosen < 0 { // which way is being found out
		return step{freed: p.freed, search: true}, nil
	}
	most := min(g.config.ChunkBytes, p.paths[p.chosen].conn.Grain(p.subject)-headerSize-len(out.tag), p.most)
	if most < 1 {
		return step{}, errors.New("the server takes no message of the size of a frame's header")
	}
	if out.sent-min(out.acked, out.sent) >= uint64(g.config.window()) {
		return step{}, nil
	}
	size := int(min(total-out.sent, uint64(most)))
	if p.way > 0 && p.way+size > p.most {
		return step{freed: p.freed}, nil
	}
	p.way += size
	out.way += size
	f := frame{kind: kindData, id: out.id, total: total, offset: out.sent, oldest: p.active[0], tag: out.tag,
		payload: out.message[out.sent : out.sent+uint64(size)]}
	out.sent, out.begun = out.sent+uint64(size), true
	return step{send: true, chunk: f}, nil
}

// free gives back room on the way to a peer.
func (g *Group) free(out *outgoing, n int) {
	if n <= 0 {
		return
	}
	out.way -= n
	out.p.way -= n
	out.p.wake()
}

// probe asks how much of a message the receiver has; no chunk follows until it
// answers. It tells how often it was asked in vain.
func (g *Group) probe(out *outgoing, silent int) {
	out.probes++
	g.mu.Lock()
	if out.probing == 0 {
		out.probing = out.probes
	}
	oldest := out.p.active[0]
	g.mu.Unlock()
	g.reply(out.p, frame{kind: kindProbe, path: uint8(min(silent, 100)), id: out.id, total: uint64(len(out.message)), offset: out.probes, oldest: oldest, tag: out.tag})
}

func (g *Group) expired(ctx context.Context, out *outgoing) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	total := uint64(len(out.message))
	err := fmt.Errorf("%d of %d bytes were acknowledged: %w", min(out.acked, total), total, context.Cause(ctx))
	if out.broken != nil {
		err = fmt.Errorf("%w (%w)", err, out.broken)
	}
	return err
}

// receiveAnswer handles an acknowledgement, an answer to a probe, or a refusal. The
// acknowledgement of a whole message is total + 1, so that an empty one has one as
// well.
func (g *Group) receiveAnswer(p *peer, f frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	out, ok := g.outgoing[messageKey{p.rank, f.id}]
	if !ok {
		return // given up before
	}
	if f.kind == kindRefuse {
		out.refused = fmt.Errorf("refused: %s: %w", f.payload, ErrLost)
	} else {
		out.had = max(out.had, f.offset)
		out.answer = max(out.answer, f.oldest)
		out.gap = out.gap || f.path == gap
	}
	if f.kind == kindAck {
		out.acked = max(out.acked, f.offset)
	}
	select {
	case out.progress <- struct{}{}:
	default:
	}
}

// checkPeer verifies what Send and Recv have in common.
func (g *Group) checkPeer(ctx context.Context, peer int, tag string) error {
	if err := g.Err(); err != nil {
		return err
	}
	if peer < 0 || peer >= g.config.World || peer == g.config.Rank {
		return fmt.Errorf("no other rank of %d; this is rank %d", g.config.World, g.config.Rank)
	}
	if len(tag) > maxTag {
		return fmt.Errorf("tag of %d bytes, at most %d", len(tag), maxTag)
	}
	return bounded(ctx)
}
