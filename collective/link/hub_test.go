package link

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ressa/collective/allreduce"
	"ressa/collective/group"
	"ressa/collective/plane"
	"ressa/collective/reduce"
	"ressa/kernels"
)

// broker is a NATS server outside the nodes that can be killed and started again.
type broker struct {
	t      *testing.T
	port   int
	server *server.Server
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{t: t, port: server.RANDOM_PORT}
	b.start()
	t.Cleanup(b.kill)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: b.port, NoLog: true, NoSigs: true})
	if err != nil {
		b.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		b.t.Fatal("the hub does not start")
	}
	b.server = s
	if b.port == server.RANDOM_PORT {
		if _, err := fmt.Sscanf(s.ClientURL(), "nats://127.0.0.1:%d", &b.port); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *broker) kill() {
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
		b.server = nil
	}
}

// conns returns connections as nodes have them.
func (b *broker) conns(n int) []plane.Conn {
	b.t.Helper()
	out := make([]plane.Conn, n)
	for i := range out {
		c, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", b.port), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.DontRandomize(),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // broken connections are the point
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(c.Close)
		out[i] = plane.Wrap(c)
	}
	return out
}

// away kills the broker again and again while f runs, each time for as long.
func (b *broker) away(times int, gone time.Duration, f func()) {
	done := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for range times {
			time.Sleep(200 * time.Millisecond)
			b.kill()
			time.Sleep(gone)
			b.start()
		}
		close(done)
	})
	for over := false; !over; {
		f() // at least once after the last time
		select {
		case <-done:
			over = true
		default:
		}
	}
	f()
	killer.Wait()
}

// TestHubIsKilled takes the hub away in the middle of sums that have no other way: when
// it is back they go on, with the bits of one accumulator, and no message is there
// twice. A message that was on the way is sent again, one that had come is refused.
func TestHubIsKilled(t *testing.T) {
	const ranks, n, leaves = 3, 100_000, 5
	b := newBroker(t)
	nodes := []*Node{openNode(t), openNode(t), openNode(t)}
	sessions := joinAll(t, nodes, b.conns(ranks), func(int, int) []string { return nil },
		func(c *group.Config) { c.RetryAfter, c.ChunkBytes = 50*time.Millisecond, 20_000 })
	values := make([][]float32, leaves)
	for i := range values {
		values[i] = make([]float32, n)
		for j := range values[i] {
			values[i][j] = 1 / float32(i*n+j+3)
		}
	}
	acc, err := reduce.New(leaves, func(dst, a, b []float32) error { return reduce.AddSlices(dst, a, b) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		if err := acc.Put(reduce.Leaf(i), append([]float32(nil), v...)); err != nil {
			t.Fatal(err)
		}
	}
	want, _ := acc.Sum()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := allreduce.Reduction{Owners: []int{0, 1, 2, 0, 1}, Len: n, Wire: kernels.F32}
	round := 0
	b.away(3, time.Second, func() {
		round++
		d.Key = fmt.Sprint("r", round)
		var all sync.WaitGroup
		for r, s := range sessions {
			reducer, err := allreduce.New(s, allreduce.Options{Segment: 10_000, Depth: 3})
			if err != nil {
				t.Fatal(err)
			}
			var parts []allreduce.Part
			for _, x := range d.Cover(r) {
				parts = append(parts, allreduce.Part{Subtree: x, Value: values[x.Lo]})
			}
			all.Go(func() {
				out := make([]float32, n)
				if err := reducer.AllReduce(ctx, d, parts, out); err != nil {
					t.Errorf("round %d, rank %d: %v", round, r, err)
					s.Abort(err)
					return
				}
				for i := range out {
					if out[i] != want[i] {
						t.Errorf("round %d, rank %d: element %d is %v, want %v", round, r, i, out[i], want[i])
						return
					}
				}
			})
		}
		all.Wait()
	})
	t.Logf("%d sums while the hub was killed 3 times", round)
	for r, s := range sessions {
		if err := s.Err(); err != nil {
			t.Errorf("rank %d's group ended: %v", r, err)
		}
		for peer, way := range s.Reach() {
			if way != group.Hub {
				t.Errorf("rank %d reaches %s by %q, want the hub", r, peer, way)
			}
		}
	}
}

// TestHubIsNotMissed takes the hub away for good from ranks that reach each other.
func TestHubIsNotMissed(t *testing.T) {
	b := newBroker(t)
	nodes := []*Node{openNode(t), openNode(t)}
	sessions := joinAll(t, nodes, b.conns(2), func(_, p int) []string { return nodes[p].URLs() }, nil)
	b.kill()
	allPairs(t, sessions, 3_000_000)
	if err := sessions[0].Err(); err != nil {
		t.Error(err)
	}
}

// TestJoinWaitsForTheHub begins a generation while the hub is away: its ranks meet
// when it is back.
func TestJoinWaitsForTheHub(t *testing.T) {
	b := newBroker(t)
	hub := b.conns(2)
	b.kill()
	time.AfterFunc(time.Second, b.start)
	nodes := []*Node{openNode(t), openNode(t)}
	sessions := joinAll(t, nodes, hub, func(int, int) []string { return nil }, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() {
		if err := sessions[0].Send(ctx, 1, "t", []byte("hello")); err != nil {
			t.Error(err)
		}
	})
	if got, err := sessions[1].Recv(ctx, 0, "t"); err != nil || !bytes.Equal(got, []byte("hello")) {
		t.Errorf("%q, %v", got, err)
	}
	all.Wait()
}
