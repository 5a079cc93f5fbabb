package plane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
)

var (
	// ErrDisconnected is returned while a connection is broken and being dialled
	// again. Nothing of the message was kept.
	ErrDisconnected = errors.New("disconnected")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("connection is closed")
	// ErrProtocol is why a connection to something that does not speak NATS ends.
	ErrProtocol = errors.New("not the NATS protocol")
)

// Conn is a connection to a NATS server, safe for concurrent use.
type Conn interface {
	// Publish sends head followed by body as one message. Both may be reused when it
	// returns. It may block until the connection takes the message, but not for ever.
	Publish(subject string, head, body []byte) error
	// Subscribe calls deliver for each message of a subject, one after the other.
	// After a broken connection it goes on by itself.
	Subscribe(subject string, deliver func(*Delivery)) (unsubscribe func(), err error)
	// MaxPayload is the largest message that the server accepts, in bytes.
	MaxPayload() int
	// Grain is the size of messages on a subject that the connection moves best.
	Grain(subject string) int
	// Flush waits until the server has what was published.
	Flush(timeout time.Duration) error
}

// Delivery is a message on its way in, valid during the call that got it. It yields
// the message; what is not read is skipped. A read fails when the connection breaks in
// the middle.
type Delivery struct {
	r         io.Reader
	size      int
	left      int // not yet read
	interrupt func()
}

// Size returns the number of bytes of the message.
func (d *Delivery) Size() int { return d.size }

// Read implements io.Reader.
func (d *Delivery) Read(b []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	n, err := d.r.Read(b[:min(len(b), d.left)])
	d.left -= n
	return n, err
}

// Interrupt returns a function that makes a read that waits fail. It may be called from
// elsewhere, and later.
func (d *Delivery) Interrupt() func() { return d.interrupt }

// Wrap returns a connection of nats.go as a Conn; closing it stays with the caller.
func Wrap(c *nats.Conn) Conn { return wrapped{c} }

// bestMessage is the size of messages that cost least over TCP: smaller ones cost
// more calls, larger ones leave the cache.
const bestMessage = 512 << 10

type wrapped struct{ c *nats.Conn }

func (w wrapped) Publish(subject string, head, body []byte) error {
	b := make([]byte, 0, len(head)+len(body))
	err := w.c.Publish(subject, append(append(b, head...), body...))
	switch {
	case errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting):
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return err
}

func (w wrapped) Subscribe(subject string, deliver func(*Delivery)) (func(), error) {
	s, err := w.c.Subscribe(subject, func(m *nats.Msg) {
		deliver(&Delivery{r: bytes.NewReader(m.Data), size: len(m.Data), left: len(m.Data), interrupt: func() {}})
	})
	if err != nil {
		return nil, err
	}
	// Groups bound what is on the way; the client's own limit would drop messages.
	if err := s.SetPendingLimits(-1, -1); err != nil {
		return nil, errors.Join(err, s.Unsubscribe())
	}
	return func() { _ = s.Unsubscribe() }, nil // it fails only on a closed connection
}

func (w wrapped) Grain(string) int { return min(bestMessage, w.MaxPayload()) }

func (w wrapped) MaxPayload() int { return int(w.c.MaxPayload()) }

func (w wrapped) Flush(timeout time.Duration) error { return w.c.FlushTimeout(timeout) }
