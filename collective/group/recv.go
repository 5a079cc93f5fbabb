package group

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ressa/collective/plane"
)

// fate is how a message ended here.
type fate uint8

const (
	failed   fate = iota + 1
	kept          // whole, and there is no room to let its sender go on
	received      // whole, and its sender may know
)

type messageKey struct {
	rank int // the other one
	id   uint64
}

type boxKey struct {
	from int
	tag  string
}

// box holds the messages of one sender and tag, in the order in which they
// began, and the calls of Recv that wait for one. One of the two is empty.
type box struct {
	arrived []*incoming
	waiting []*request
}

// request is a Recv that waits for a message to begin.
type request struct {
	buf   []byte         // where it wants it; nil: in memory of its own
	given chan *incoming // room for one
}

// incoming is a message on its way in, or received and not asked for.
type incoming struct {
	key      messageKey
	box      boxKey
	data     []byte // of the message's length once it began
	received int
	reported int           // what the sender was told last
	claimed  bool          // a Recv waits for it or has it
	writing  bool          // a connection reads a chunk into data
	since    time.Time     // when it began
	idle     chan struct{} // closed when it is done, if somebody waits for that
	stop     func()        // makes it fail
	withheld bool          // an acknowledgement is due once there is room
	err      error
	done     chan struct{} // closed when it is whole or failed
}

// state returns what to answer: the bytes received, and one more when the message is
// whole.
func (in *incoming) state(k kind) frame {
	n := uint64(in.received)
	if in.received == len(in.data) && isClosed(in.done) {
		n++
	}
	return frame{kind: k, id: in.key.id, offset: n}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Recv waits for the next message from rank from under a tag. The memory is the
// caller's. A message whose Recv ends with its context is kept for the next one.
func (g *Group) Recv(ctx context.Context, from int, tag string) ([]byte, error) {
	b, err := g.recv(ctx, from, tag, nil)
	if err != nil {
		return nil, fmt.Errorf("group: receive %q from rank %d: %w", tag, from, err)
	}
	return b, nil
}

// RecvInto is [Group.Recv] into memory of the caller's, where the chunks of a message
// that is asked for before it comes are read to: it returns the length of the message,
// which is an error if buf is shorter. After an error buf is the caller's again; what
// is in it is not defined.
func (g *Group) RecvInto(ctx context.Context, from int, tag string, buf []byte) (int, error) {
	if buf == nil {
		buf = []byte{}
	}
	b, err := g.recv(ctx, from, tag, buf)
	if err == nil && len(b) > len(buf) {
		err = fmt.Errorf("%d bytes, room for %d: %w", len(b), len(buf), ErrTooLarge)
	}
	if err != nil {
		return 0, fmt.Errorf("group: receive %q from rank %d: %w", tag, from, err)
	}
	if len(b) > 0 && &b[0] != &buf[0] {
		copy(buf, b)
	}
	return len(b), nil
}

func (g *Group) recv(ctx context.Context, from int, tag string, buf []byte) ([]byte, error) {
	if err := g.checkPeer(ctx, from, tag); err != nil {
		return nil, err
	}
	k, r := boxKey{from, tag}, &request{buf: buf, given: make(chan *incoming, 1)}
	in := g.claim(k, r)
	if in == nil {
		var err error
		select {
		case in = <-r.given:
		case <-g.done:
			err = g.Err()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			g.unclaim(k, r)
			return nil, err
		}
	}
	var err error
	select {
	case <-in.done:
		if in.err == nil {
			return in.data, nil
		}
		err = in.err
	case <-g.done:
		err = g.Err()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	received, total := g.putBack(in, buf)
	return nil, fmt.Errorf("%d of %d bytes came: %w", received, total, err)
}

// claim takes the first message of a box, or queues for the next one.
func (g *Group) claim(k boxKey, r *request) *incoming {
	g.mu.Lock()
	b := g.open(k)
	if len(b.arrived) == 0 {
		b.waiting = append(b.waiting, r)
		g.mu.Unlock()
		return nil
	}
	in, p := b.arrived[0], g.peers[k.from]
	b.arrived = b.arrived[1:]
	in.claimed = true
	p.eager -= in.received
	g.tidy(k)
	acks := g.dueAcks(p, in)
	g.mu.Unlock()
	for _, f := range acks {
		g.reply(p, f)
	}
	return in
}

// unclaim leaves the queue; a message that was handed over just then goes back.
func (g *Group) unclaim(k boxKey, r *request) {
	g.mu.Lock()
	b := g.open(k)
	b.waiting = slices.DeleteFunc(b.waiting, func(w *request) bool { return w == r })
	g.tidy(k)
	g.mu.Unlock()
	select {
	case in := <-r.given:
		g.putBack(in, r.buf)
	default:
	}
}

// patience is how long a chunk that is being read is waited for before the
// connection is given up.
const patience = 100 * time.Millisecond

// putBack makes a claimed message the first of its box again, in memory of its own if
// it has the caller's, and returns how much of it has come. One that failed is gone.
func (g *Group) putBack(in *incoming, buf []byte) (received, total int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for in.writing {
		if in.idle == nil {
			in.idle = make(chan struct{})
		}
		idle, stop := in.idle, in.stop
		g.mu.Unlock()
		select {
		case <-idle:
		case <-time.After(patience):
			stop()
			<-idle
		}
		g.mu.Lock()
	}
	if len(in.data) > 0 && len(buf) > 0 && &in.data[0] == &buf[0] {
		own := make([]byte, len(in.data))
		copy(own, in.data[:in.received])
		in.data = own
	}
	if in.err != nil {
		return in.received, len(in.data)
	}
	p := g.peers[in.key.rank]
	in.claimed = false
	p.eager += in.received
	b := g.open(in.box)
	if len(b.waiting) > 0 { // someone else asks for it already
		g.hand(b, in)
	} else {
		b.arrived = slices.Insert(b.arrived, 0, in)
	}
	return in.received, len(in.data)
}

// receiveChunk adds a chunk to its message, reading it to where it belongs.
func (g *Group) receiveChunk(p *peer, f frame, d *plane.Delivery) {
	g.mu.Lock()
	in, answer := g.place(p, f)
	if in == nil {
		g.mu.Unlock()
		if answer != nil {
			g.reply(p, *answer)
		}
		return
	}
	end := int(f.offset) + f.size
	in.writing, in.since, in.stop = true, time.Now(), d.Interrupt()
	to := in.data[f.offset:end]
	g.mu.Unlock()
	err := f.readPayload(d, to)
	if errors.Is(err, ErrCorrupt) {
		g.abortLater(fmt.Errorf("rank %d received: %w", g.config.Rank, err))
	}
	g.mu.Lock()
	in.writing = false
	if in.idle != nil {
		close(in.idle)
		in.idle = nil
	}
	if err != nil || in.err != nil || g.err != nil { // lost, or failed meanwhile
		g.mu.Unlock()
		return
	}
	if !in.claimed {
		p.eager += end - in.received
	}
	in.received = end
	if in.received == len(in.data) {
		g.finish(p, in, nil)
	}
	var acks []frame
	if in.received == len(in.data) || in.received-in.reported >= g.config.ackBytes() {
		in.reported, in.withheld = in.received, true
		if acks = g.dueAcks(p, in); in.withheld {
			acks = append(acks, in.state(kindHave))
		}
	}
	g.mu.Unlock()
	for _, a := range acks {
		g.reply(p, a)
	}
}

// place finds the message that a chunk continues, or begins it. Of a chunk that does
// not belong it returns what to answer, if anything: one that came before, one after
// a gap, one of a message that has ended.
func (g *Group) place(p *peer, f frame) (*incoming, *frame) {
	g.forget(p, f.oldest)
	if answer, ended := p.afterwards(f); ended {
		return nil, &answer
	}
	refuse := func(format string, v ...any) (*incoming, *frame) {
		return nil, &frame{kind: kindRefuse, id: f.id, payload: fmt.Appendf(nil, format, v...)}
	}
	in := p.coming[f.id]
	if in == nil {
		if f.total > uint64(g.config.MaxMessage) {
			p.ended[f.id] = failed
			return refuse("a message of %d bytes, at most %d", f.total, g.config.MaxMessage)
		}
		if f.offset != 0 {
			return nil, &frame{kind: kindHave, path: gap, id: f.id}
		}
		in = &incoming{key: messageKey{p.rank, f.id}, box: boxKey{p.rank, f.tag}, done: make(chan struct{})}
		g.enter(p, in, int(f.total))
	}
	switch {
	case f.total != uint64(len(in.data)) || f.tag != in.box.tag:
		g.finish(p, in, fmt.Errorf("%d bytes under %q, before %d under %q: %w", f.total, f.tag, len(in.data), in.box.tag, ErrLost))
		return refuse("%d bytes under another tag or of another length than before", f.total)
	case in.writing: // on another connection, which may have broken unnoticed
		if time.Since(in.since) > patience {
			in.stop()
		}
		return nil, nil
	case f.offset > uint64(in.received):
		answer := in.state(kindHave)
		answer.path = gap
		return nil, &answer
	case f.offset+uint64(f.size) <= uint64(in.received) && in.received > 0:
		answer := g.answer(p, in)
		return nil, &answer
	}
	return in, nil
}

// enter begins a message of some length, in the memory of the Recv that waits for it
// or its own.
func (g *Group) enter(p *peer, in *incoming, length int) {
	p.coming[in.key.id] = in
	b := g.open(in.box)
	if len(b.waiting) == 0 {
		in.data = make([]byte, length)
		b.arrived = append(b.arrived, in)
		return
	}
	if buf := b.waiting[0].buf; buf != nil && length <= len(buf) {
		in.data = buf[:length:length]
	} else {
		in.data = make([]byte, length)
	}
	g.hand(b, in)
}

// answer is the state of a message for its sender: an ack where there is room.
func (g *Group) answer(p *peer, in *incoming) frame {
	if in.claimed || p.eager <= g.config.EagerBytes {
		return in.state(kindAck)
	}
	return in.state(kindHave)
}

// receiveProbe answers how much of a message has come, on all paths. A sender that
// has not heard from here although it asked before makes this rank look for a way
// back.
func (g *Group) receiveProbe(p *peer, f frame) {
	g.mu.Lock()
	g.forget(p, f.oldest)
	a, ended := p.afterwards(f)
	if !ended {
		a = frame{kind: kindAck, id: f.id}
		if in := p.coming[f.id]; in != nil {
			a = g.answer(p, in)
		}
	}
	a.oldest = f.offset // the number of the probe
	g.mu.Unlock()
	if err := g.publishAll(p, a); err != nil {
		g.config.Logger.Debug("reply", "peer", p.rank, "error", err)
	}
	if f.path > 1 {
		g.search(p)
	}
}

// afterwards is what to answer about a message that has ended here.
func (p *peer) afterwards(f frame) (frame, bool) {
	fate, ended := p.ended[f.id]
	switch {
	case f.id < p.oldest, ended && fate == failed:
		return frame{kind: kindRefuse, id: f.id, payload: []byte("the message has ended here")}, true
	case ended && fate == received:
		return frame{kind: kindAck, id: f.id, offset: f.total + 1}, true
	case ended:
		return frame{kind: kindHave, id: f.id, offset: f.total + 1}, true
	}
	return frame{}, false
}

// forget drops what is known of messages that their sender is done with.
func (g *Group) forget(p *peer, oldest uint64) {
	if oldest <= p.oldest {
		return
	}
	p.oldest = oldest
	for id := range p.ended {
		if id < oldest {
			delete(p.ended, id)
		}
	}
	for id, in := range p.coming {
		if id < oldest { // its cancellation was lost
			g.finish(p, in, ErrCancelled)
		}
	}
}

// receiveCancel fails a message that its sender gave up.
func (g *Group) receiveCancel(p *peer, f frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if in := p.coming[f.id]; in != nil {
		g.finish(p, in, ErrCancelled)
	} else if f.id >= p.oldest {
		if _, ended := p.ended[f.id]; !ended {
			p.ended[f.id] = failed
		}
	}
}

// finish ends the arrival of a message. One that failed before anybody asked
// for it is forgotten: its sender knows.
func (g *Group) finish(p *peer, in *incoming, err error) {
	in.err = err
	delete(p.coming, in.key.id)
	if in.key.id >= p.oldest {
		p.ended[in.key.id] = failed
		if err == nil {
			p.ended[in.key.id] = kept
		}
	}
	close(in.done)
	if err == nil || in.claimed {
		return
	}
	p.eager -= in.received
	b := g.open(in.box)
	b.arrived = slices.DeleteFunc(b.arrived, func(x *incoming) bool { return x == in })
	g.tidy(in.box)
}

// dueAcks returns the acknowledgements that may go to a sender now: those of
// messages that were asked for (in is the one at hand), and, while there is
// room, the others.
func (g *Group) dueAcks(p *peer, in *incoming) []frame {
	var acks []frame
	due := func(m *incoming) {
		if m.withheld && (m.claimed || p.eager <= g.config.EagerBytes) {
			m.withheld = false
			acks = append(acks, m.state(kindAck))
			if p.ended[m.key.id] == kept {
				p.ended[m.key.id] = received
			}
		}
	}
	due(in)
	for k, b := range g.boxes {
		if k.from == p.rank {
			for _, m := range b.arrived {
				due(m)
			}
		}
	}
	return acks
}

// hand gives a message to the first Recv that waits.
func (g *Group) hand(b *box, in *incoming) {
	if !in.claimed {
		in.claimed = true
		g.peers[in.key.rank].eager -= in.received
	}
	b.waiting[0].given <- in
	b.waiting = b.waiting[1:]
	g.tidy(in.box)
}

func (g *Group) open(k boxKey) *box {
	b := g.boxes[k]
	if b == nil {
		b = &box{}
		g.boxes[k] = b
	}
	return b
}

// tidy forgets an empty box: tags are used once.
func (g *Group) tidy(k boxKey) {
	if b := g.boxes[k]; b != nil && len(b.arrived) == 0 && len(b.waiting) == 0 {
		delete(g.boxes, k)
	}
}
