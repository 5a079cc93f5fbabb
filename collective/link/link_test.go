package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
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

func openNode(t testing.TB) *Node {
	t.Helper()
	n, err := Open(Options{Addr: "127.0.0.1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// hubConns returns connections to a NATS server outside the nodes.
func hubConns(t testing.TB, n int) []plane.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the hub does not start")
	}
	out := make([]plane.Conn, n)
	for i := range out {
		c, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		out[i] = plane.Wrap(c)
	}
	return out
}

// joinAll joins one rank for each node; urls(r, p) is what rank r knows of rank p.
func joinAll(t testing.TB, nodes []*Node, hub []plane.Conn, urls func(r, p int) []string, tune func(*group.Config)) []*Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	sessions := make([]*Session, len(nodes))
	var wg sync.WaitGroup
	for r, n := range nodes {
		m := Membership{Job: "j", Generation: 3, Rank: r, Tune: tune}
		if hub != nil {
			m.Hub = hub[r]
		}
		for p := range nodes {
			m.Peers = append(m.Peers, Peer{fmt.Sprintf("t%d", p+1), urls(r, p)})
		}
		wg.Go(func() {
			var err error
			if sessions[r], err = n.Join(ctx, m); err != nil {
				t.Errorf("rank %d: %v", r, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() {
		for _, s := range sessions {
			s.Close()
		}
	})
	return sessions
}

// allPairs sends a message between every two ranks.
func allPairs(t *testing.T, sessions []*Session, size int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for from, s := range sessions {
		want := bytes.Repeat([]byte{byte(from), 1, 2}, size/3)
		for to, r := range sessions {
			if from == to {
				continue
			}
			wg.Go(func() {
				if err := s.Send(ctx, to, "t", want); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if got, err := r.Recv(ctx, from, "t"); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d to %d: %d bytes, %v", from, to, len(got), err)
				}
			})
		}
	}
	wg.Wait()
}

// TestReach joins nodes that can dial all, some or none of the others.
func TestReach(t *testing.T) {
	for name, c := range map[string]struct {
		dials func(r, p int) bool
		want  []map[string]string
	}{
		"all":  {func(r, p int) bool { return true }, []map[string]string{{"t2": "direct", "t3": "direct"}, {"t1": "direct", "t3": "direct"}, {"t1": "direct", "t2": "direct"}}},
		"some": {func(r, p int) bool { return p == 0 }, []map[string]string{{"t2": "reverse", "t3": "reverse"}, {"t1": "direct", "t3": "hub"}, {"t1": "direct", "t2": "hub"}}},
		"none": {func(r, p int) bool { return false }, []map[string]string{{"t2": "hub", "t3": "hub"}, {"t1": "hub", "t3": "hub"}, {"t1": "hub", "t2": "hub"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := []*Node{openNode(t), openNode(t), openNode(t)}
			sessions := joinAll(t, nodes, hubConns(t, 3), func(r, p int) []string {
				if c.dials(r, p) {
					// An address that leads nowhere, and one that leads to another server.
					_, id, _ := strings.Cut(nodes[p].URLs()[0], "#")
					elsewhere, _, _ := strings.Cut(nodes[r].URLs()[0], "#")
					return []string{"nats://127.0.0.1:1", elsewhere + "#" + id, nodes[p].URLs()[0]}
				}
				return nil
			}, nil)
			for r, s := range sessions {
				if got := s.Reach(); !maps.Equal(got, c.want[r]) {
					t.Errorf("rank %d: %v, want %v", r, got, c.want[r])
				}
			}
			allPairs(t, sessions, 3_000_000)
		})
	}
}

func TestUnreachablePeerIsNamed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := openNode(t).Join(ctx, Membership{Job: "j", Generation: 1, Peers: []Peer{{Node: "t1"}, {Node: "t2", URLs: []string{"nats://127.0.0.1:1"}}}})
	if err == nil || !strings.Contains(err.Error(), "node t2 at [nats://127.0.0.1:1]") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// relay passes TCP connections on until they are cut.
type relay struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	conns    []net.Conn
}

func startRelay(t testing.TB, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, target: target}
	t.Cleanup(func() { _ = l.Close(); r.cut() })
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", target)
			if err != nil {
				_ = a.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, a, b)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(a, b); _ = a.Close() }()
			go func() { _, _ = io.Copy(b, a); _ = b.Close() }()
		}
	}()
	return r
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

// TestAllReduceThroughReconnects cuts the connections between the ranks again and
// again while they sum: the bits are those of one accumulator.
func TestAllReduceThroughReconnects(t *testing.T) {
	const ranks, n, leaves = 3, 300_000, 5
	nodes := []*Node{openNode(t), openNode(t), openNode(t)}
	relays := make([]*relay, ranks)
	ids := make([]string, ranks)
	for i, node := range nodes {
		address, id, _ := strings.Cut(strings.TrimPrefix(node.URLs()[0], "nats://"), "#")
		relays[i], ids[i] = startRelay(t, address), id
	}
	sessions := joinAll(t, nodes, nil, func(_, p int) []string {
		return []string{"nats://" + relays[p].listener.Addr().String() + "#" + ids[p]}
	}, func(c *group.Config) { c.RetryAfter, c.ChunkBytes = 50*time.Millisecond, 20_000 })
	stop := make(chan struct{})
	var cutter sync.WaitGroup
	var cuts atomic.Int32
	cutter.Go(func() {
		r := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(5+r.IntN(60)) * time.Millisecond):
				relays[r.IntN(ranks)].cut()
				cuts.Add(1)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	rng := rand.New(rand.NewPCG(3, 4))
	values := make([][]float32, leaves)
	for i := range values {
		values[i] = make([]float32, n)
		for j := range values[i] {
			values[i][j] = float32(rng.NormFloat64())
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
	d := allreduce.Reduction{Owners: []int{0, 1, 2, 0, 1}, Len: n, Wire: kernels.F32}
	for round := 0; round < 3 || cuts.Load() < 10; round++ {
		d.Key = fmt.Sprint("r", round)
		var wg sync.WaitGroup
		for r, s := range sessions {
			reducer, err := allreduce.New(s, allreduce.Options{Segment: 10_000, Depth: 3})
			if err != nil {
				t.Fatal(err)
			}
			var parts []allreduce.Part
			for _, x := range d.Cover(r) {
				parts = append(parts, allreduce.Part{Subtree: x, Value: values[x.Lo]})
			}
			wg.Go(func() {
				out := make([]float32, n)
				if err := reducer.AllReduce(ctx, d, parts, out); err != nil {
					t.Errorf("rank %d: %v", r, err)
					s.Abort(err)
					return
				}
				for i := range out {
					if out[i] != want[i] {
						t.Errorf("rank %d: element %d is %v, want %v", r, i, out[i], want[i])
						return
					}
				}
			})
		}
		wg.Wait()
	}
	close(stop)
	cutter.Wait()
}
