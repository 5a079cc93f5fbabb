package team

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"ressa/shard"
)

// post carries the messages of a group whose members are goroutines.
type post struct {
	mu    sync.Mutex
	boxes map[string]chan []byte
	sent  []string // "from>to tag", in order
}

func (p *post) box(from, to int, tag string) chan []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := fmt.Sprintf("%d>%d %s", from, to, tag)
	if p.boxes[k] == nil {
		p.boxes[k] = make(chan []byte, 16)
	}
	return p.boxes[k]
}

// seen returns what was sent so far, sorted.
func (p *post) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(slices.Values(p.sent))
}

// seat is one member of a group of the post.
type seat struct {
	*post
	rank, world int
	generation  uint64
	forge       func(tag string, m []byte) []byte // changes what it hears; nil for nothing
}

func (s *seat) Rank() int          { return s.rank }
func (s *seat) World() int         { return s.world }
func (s *seat) Generation() uint64 { return s.generation }

func (s *seat) Send(ctx context.Context, to int, tag string, m []byte) error {
	if _, ok := ctx.Deadline(); !ok {
		return fmt.Errorf("%s to %d: no deadline", tag, to)
	}
	if to >= s.world {
		return fmt.Errorf("%s to %d of %d", tag, to, s.world)
	}
	s.mu.Lock()
	s.sent = append(s.sent, fmt.Sprintf("%d>%d %s", s.rank, to, tag))
	s.mu.Unlock()
	select {
	case s.box(s.rank, to, tag) <- slices.Clone(m):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("send %s to %d: %w", tag, to, ctx.Err())
	}
}

func (s *seat) Recv(ctx context.Context, from int, tag string) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, fmt.Errorf("%s from %d: no deadline", tag, from)
	}
	select {
	case m := <-s.box(from, s.rank, tag):
		if s.forge != nil {
			m = s.forge(tag, m)
		}
		return m, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("receive %s from rank %d: %w", tag, from, ctx.Err())
	}
}

func (s *seat) AllGather(ctx context.Context, _ []int, key string, m []byte) ([][]byte, error) {
	for to := range s.world {
		if err := s.Send(ctx, to, key, m); err != nil {
			return nil, err
		}
	}
	all := make([][]byte, s.world)
	for from := range all {
		var err error
		if all[from], err = s.Recv(ctx, from, key); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (s *seat) Barrier(ctx context.Context) error {
	_, err := s.AllGather(ctx, nil, "barrier", nil)
	return err
}

const patience = time.Minute

// split is a plan of three workers: 0 has the vision tower, 1 and 2 share the
// language tower.
func split() shard.Plan {
	return shard.Plan{Nodes: []string{"t1", "t2", "t3"}, Microbatches: 4, Stages: []shard.Stage{
		{Tower: shard.Vision, Hi: 2, Workers: []int{0}, Owners: []int{0, 0, 0, 0}},
		{Tower: shard.Language, Hi: 2, Workers: []int{1, 2}, Owners: []int{1, 1, 2, 2}},
	}}
}

// teamOf returns the members of a team that talk through a post.
func teamOf(t *testing.T, p shard.Plan) ([]*Team, []*seat, *post) {
	t.Helper()
	mail := &post{boxes: map[string]chan []byte{}}
	var members []*Team
	var seats []*seat
	for w := range p.Nodes {
		s := &seat{post: mail, rank: w, world: len(p.Nodes), generation: 1}
		m, err := New(Config{Plan: p, Group: s, Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		members, seats = append(members, m), append(seats, s)
	}
	return members, seats, mail
}

// each runs a part of all members at once and returns their errors.
func each(members []*Team, part func(w int, m *Team) error) []error {
	errs := make([]error, len(members))
	var all sync.WaitGroup
	for w, m := range members {
		if m == nil {
			continue // is missing
		}
		all.Go(func() { errs[w] = part(w, m) })
	}
	all.Wait()
	return errs
}

// RecvInto is for the reduction of gradients, which no test here gets to.
func (s *seat) RecvInto(ctx context.Context, from int, tag string, buf []byte) (int, error) {
	m, err := s.Recv(ctx, from, tag)
	if err == nil && len(m) > len(buf) {
		err = fmt.Errorf("%s: %d bytes for %d", tag, len(m), len(buf))
	}
	return copy(buf, m), err
}
