package agent

import (
	"context"
	"time"

	"ressa/coordinator/api/backlog"
)

// mostOutgoing is how many messages wait for the hub at most.
const mostOutgoing = 1024

// publisher sends what workers say to the hub, without holding them up: a connection
// to a hub that hangs blocks who publishes once its buffers are full. What does not
// fit is not sent; lines are kept, and asked for by who did not hear them.
type publisher struct {
	agent *agent
	queue *backlog.Queue[outgoing]
}

// outgoing is a message, or a request to flush.
type outgoing struct {
	subject string
	raw     []byte
	flushed chan<- struct{} // nil for a message
	within  time.Duration
}

func newPublisher(a *agent) *publisher {
	p := &publisher{agent: a}
	p.queue = backlog.New(mostOutgoing, p.pass)
	return p
}

func (p *publisher) pass(m outgoing, dropped int) {
	if dropped > 0 {
		p.agent.Logger.Debug("lines not sent: the hub takes none", "lines", dropped)
	}
	conn := p.agent.conn()
	switch {
	case m.flushed != nil:
		if conn != nil {
			_ = conn.FlushTimeout(m.within) // who waits does so for a moment only
		}
		close(m.flushed)
	case conn != nil:
		if err := conn.Publish(m.subject, m.raw); err != nil {
			p.agent.Logger.Debug("line not sent", "error", err)
		}
	}
}

// publish has a message sent if the hub takes it.
func (p *publisher) publish(subject string, raw []byte) {
	p.queue.Put(outgoing{subject: subject, raw: raw})
}

// flush waits until the hub has what was published, but not longer than that.
func (p *publisher) flush(within time.Duration) {
	flushed := make(chan struct{})
	if !p.queue.Keep(outgoing{flushed: flushed, within: within}) {
		return
	}
	select {
	case <-flushed:
	case <-time.After(within):
	}
}

// close ends the publisher; the connection is closed before, so that it waits for
// nothing.
func (p *publisher) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = p.queue.Close(ctx)
}
