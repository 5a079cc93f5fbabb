package group

import (
	"context"
	"fmt"
	"slices"
)

type messageKey struct {
	from int
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
	waiting []chan *incoming
}

// incoming is a message on its way in, or received and not asked for.
type incoming struct {
	key      messageKey
	box      boxKey
	data     []byte
	received int
	claimed  bool // a Recv waits for it or has it
	withheld bool // an acknowledgement is due once there is room
	err      error
	done     chan struct{} // closed when it is whole or failed
}

// ack returns what to acknowledge: the bytes received, and one more when the
// message is whole.
func (in *incoming) ack() frame {
	n := uint64(in.received)
	if in.received == len(in.data) {
		n++
	}
	return frame{kind: kindAck, id: in.key.id, offset: n}
}

// Recv waits for the next message from rank from under a tag. The memory is the
// caller's. A message whose Recv ends with its context is kept for the next one.
func (g *Group) Recv(ctx context.Context, from int, tag string) ([]byte, error) {
	if err := g.checkPeer(ctx, from, tag); err != nil {
		return nil, fmt.Errorf("group: receive %q from rank %d: %w", tag, from, err)
	}
	in, wait := g.claim(boxKey{from, tag})
	var err error
	if in == nil {
		select {
		case in = <-wait:
		case <-g.done:
			err = g.Err()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			g.unclaim(boxKey{from, tag}, wait)
			return nil, fmt.Errorf("group: receive %q from rank %d: %w", tag, from, err)
		}
	}
	select {
	case <-in.done:
		err = in.err
	case <-g.done:
		err = g.Err()
	case <-ctx.Done():
		err = fmt.Errorf("%d of %d bytes came: %w", g.putBack(in), len(in.data), context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("group: receive %q from rank %d: %w", tag, from, err)
	}
	return in.data, nil
}

// claim takes the first message of a box, or queues for the next one.
func (g *Group) claim(k boxKey) (*incoming, chan *incoming) {
	g.mu.Lock()
	b := g.open(k)
	if len(b.arrived) == 0 {
		wait := make(chan *incoming, 1)
		b.waiting = append(b.waiting, wait)
		g.mu.Unlock()
		return nil, wait
	}
	in := b.arrived[0]
	b.arrived = b.arrived[1:]
	in.claimed = true
	g.eager[k.from] -= in.received
	g.tidy(k)
	acks := g.dueAcks(k.from, in)
	g.mu.Unlock()
	for _, f := range acks {
		g.reply(k.from, f)
	}
	return in, nil
}

// unclaim leaves the queue; a message that was handed over just then goes back.
func (g *Group) unclaim(k boxKey, wait chan *incoming) {
	g.mu.Lock()
	b := g.open(k)
	b.waiting = slices.DeleteFunc(b.waiting, func(w chan *incoming) bool { return w == wait })
	g.tidy(k)
	g.mu.Unlock()
	select {
	case in := <-wait:
		g.putBack(in)
	default:
	}
}

// putBack makes a claimed message the first of its box again and returns how
// much of it has come.
func (g *Group) putBack(in *incoming) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if in.err != nil { // its sender gave up or it was refused
		return in.received
	}
	in.claimed = false
	g.eager[in.key.from] += in.received
	b := g.open(in.box)
	if len(b.waiting) > 0 { // someone else asks for it already
		g.hand(b, in)
	} else {
		b.arrived = slices.Insert(b.arrived, 0, in)
	}
	return in.received
}

// receiveChunk adds a chunk to its message.
func (g *Group) receiveChunk(f frame) {
	g.mu.Lock()
	k := messageKey{f.from, f.id}
	in := g.incoming[k]
	if in == nil {
		if f.offset != 0 || f.total > uint64(g.config.MaxMessage) {
			g.mu.Unlock()
			// Its beginning is gone, or it was failed before: the sender may not know.
			g.reply(f.from, frame{kind: kindRefuse, id: f.id, payload: fmt.Appendf(nil, "chunk at %d of %d bytes", f.offset, f.total)})
			return
		}
		in = &incoming{key: k, box: boxKey{f.from, f.tag}, data: make([]byte, f.total), done: make(chan struct{})}
		g.incoming[k] = in
		if b := g.open(in.box); len(b.waiting) > 0 {
			g.hand(b, in)
		} else {
			b.arrived = append(b.arrived, in)
		}
	}
	if f.offset != uint64(in.received) || f.total != uint64(len(in.data)) {
		why := fmt.Sprintf("chunk at %d of %d bytes, want %d of %d", f.offset, f.total, in.received, len(in.data))
		g.finish(in, fmt.Errorf("%s: %w", why, ErrLost))
		g.mu.Unlock()
		g.reply(f.from, frame{kind: kindRefuse, id: f.id, payload: []byte(why)})
		return
	}
	in.received += copy(in.data[f.offset:], f.payload)
	if !in.claimed {
		g.eager[f.from] += len(f.payload)
	}
	if in.received == len(in.data) {
		g.finish(in, nil)
	}
	in.withheld = true
	acks := g.dueAcks(f.from, in)
	g.mu.Unlock()
	for _, a := range acks {
		g.reply(f.from, a)
	}
}

// receiveCancel fails a message that its sender gave up.
func (g *Group) receiveCancel(f frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if in := g.incoming[messageKey{f.from, f.id}]; in != nil {
		g.finish(in, ErrCancelled)
	}
}

// finish ends the arrival of a message. One that failed before anybody asked
// for it is forgotten: its sender knows.
func (g *Group) finish(in *incoming, err error) {
	in.err = err
	delete(g.incoming, in.key)
	close(in.done)
	if err == nil || in.claimed {
		return
	}
	g.eager[in.key.from] -= in.received
	b := g.open(in.box)
	b.arrived = slices.DeleteFunc(b.arrived, func(x *incoming) bool { return x == in })
	g.tidy(in.box)
}

// dueAcks returns the acknowledgements that may go to a sender now: those of
// messages that were asked for (in is the one at hand), and, while there is
// room, the others.
func (g *Group) dueAcks(from int, in *incoming) []frame {
	var acks []frame
	due := func(m *incoming) {
		if m.withheld && (m.claimed || g.eager[from] <= g.config.EagerBytes) {
			m.withheld = false
			acks = append(acks, m.ack())
		}
	}
	due(in)
	for k, b := range g.boxes {
		if k.from == from {
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
		g.eager[in.key.from] -= in.received
	}
	b.waiting[0] <- in
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

// RecvInto is [Group.Recv] into memory of the caller's: it returns the length of the
// message, which is an error if buf is shorter.
func (g *Group) RecvInto(ctx context.Context, from int, tag string, buf []byte) (int, error) {
	b, err := g.Recv(ctx, from, tag)
	if err != nil {
		return 0, err
	}
	if len(b) > len(buf) {
		return 0, fmt.Errorf("group: receive %q from rank %d: %d bytes, room for %d: %w", tag, from, len(b), len(buf), ErrTooLarge)
	}
	return copy(buf, b), nil
}
