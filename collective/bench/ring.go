package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"ressa/collective/vector"
)

// ring is an all-reduce over plain TCP: reduce-scatter, then all-gather, each in
// world − 1 steps.
type ring struct {
	rank, world int
	next, prev  net.Conn
	piece       []float32 // what is received and not yet added
}

// pieceLen is how many elements are received before they are added: they stay in
// the cache.
const pieceLen = 64 << 10

// allReduce sums v over all ranks, in place.
func (r *ring) allReduce(v []float32) error {
	part := func(i int) []float32 {
		i = (i%r.world + r.world) % r.world
		return v[len(v)*i/r.world : len(v)*(i+1)/r.world]
	}
	for step := range r.world - 1 {
		if err := r.step(part(r.rank-step), part(r.rank-step-1), true); err != nil {
			return err
		}
	}
	for step := range r.world - 1 {
		if err := r.step(part(r.rank+1-step), part(r.rank-step), false); err != nil {
			return err
		}
	}
	return nil
}

// step sends out to the next rank while it receives in from the one before.
func (r *ring) step(out, in []float32, add bool) error {
	sent := make(chan error, 1)
	go func() { _, err := r.next.Write(vector.Bytes(out)); sent <- err }()
	if !add {
		if _, err := io.ReadFull(r.prev, vector.Bytes(in)); err != nil {
			return err
		}
		return <-sent
	}
	for len(in) > 0 {
		n := min(len(in), pieceLen)
		if _, err := io.ReadFull(r.prev, vector.Bytes(r.piece[:n])); err != nil {
			return err
		}
		vector.Add(in[:n], in[:n], r.piece[:n])
		in = in[n:]
	}
	return <-sent
}

// openRing dials the next rank and accepts the one before.
func openRing(p *Plan, l net.Listener, addresses []string) (*ring, error) {
	r := &ring{rank: p.Rank, world: p.World, piece: make([]float32, pieceLen)}
	if t, ok := l.(*net.TCPListener); ok {
		if err := t.SetDeadline(time.Now().Add(timeout)); err != nil {
			return nil, fmt.Errorf("ring: %w", err)
		}
	}
	accepted := make(chan error, 1)
	go func() {
		var err error
		r.prev, err = l.Accept()
		accepted <- err
	}()
	var err error
	if r.next, err = net.DialTimeout("tcp", addresses[(p.Rank+1)%p.World], timeout); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	if err := <-accepted; err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	return r, nil
}

// until ends what is read and written at a time.
func (r *ring) until(t time.Time) error {
	return errors.Join(r.next.SetDeadline(t), r.prev.SetDeadline(t))
}

func (r *ring) close() {
	for _, c := range []net.Conn{r.next, r.prev} {
		if c != nil {
			_ = c.Close()
		}
	}
}
