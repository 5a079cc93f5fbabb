package group

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ressa/collective/plane"
)

// lossy is a connection that loses, repeats, delays and cuts what it publishes, as
// reconnects and changes of the path do.
type lossy struct {
	plane.Conn
	mu        sync.Mutex
	rng       *rand.Rand
	loss      float64 // of each message
	copies    float64 // chance of a second one, later
	dead      atomic.Bool
	published atomic.Int64
}

func (l *lossy) Publish(subject string, head, body []byte) error {
	l.mu.Lock()
	lost, again, late := l.rng.Float64() < l.loss, l.rng.Float64() < l.copies, time.Duration(l.rng.IntN(5000))*time.Microsecond
	l.mu.Unlock()
	if l.dead.Load() || lost {
		return nil
	}
	l.published.Add(1)
	if again {
		head, body := slices.Clone(head), slices.Clone(body)
		time.AfterFunc(late, func() { _ = l.Conn.Publish(subject, head, body) })
	}
	return l.Conn.Publish(subject, head, body)
}

// TestLossRepetitionAndDelay sends messages of all sizes between all ranks over
// connections that lose one frame in ten and repeat one in five.
func TestLossRepetitionAndDelay(t *testing.T) {
	const world = 3
	s := startServer(t)
	configs := make([]Config, world)
	for r := range configs {
		configs[r] = testConfig(&lossy{Conn: connect(t, s), rng: rand.New(rand.NewPCG(uint64(r), 3)), loss: 0.1, copies: 0.2}, 5, r, world)
		configs[r].RetryAfter = 10 * time.Millisecond
		configs[r].EagerBytes = 40_000
	}
	groups := joinAll(t, configs)
	ctx := testContext(t, 60*time.Second)
	sizes := []int{0, 1, 999, 1000, 1001, 3000, 64_000}
	var wg sync.WaitGroup
	for from, g := range groups {
		for to := range groups {
			if from == to {
				continue
			}
			for i, size := range sizes {
				// Two messages with one tag: they must come once each, in order.
				tag, want := fmt.Sprintf("m%d", i), randomBytes(uint64(from*100+to*10+i), size)
				wg.Go(func() {
					for _, m := range [][]byte{want, []byte("second")} {
						if err := g.Send(ctx, to, tag, m); err != nil {
							t.Error(err)
						}
					}
				})
				wg.Go(func() {
					got := make([]byte, size+10)
					n, err := groups[to].RecvInto(ctx, from, tag, got)
					if err != nil || !bytes.Equal(got[:n], want) {
						t.Errorf("%d to %d, %d bytes: got %d bytes, %v", from, to, size, n, err)
					}
					if b, err := groups[to].Recv(ctx, from, tag); err != nil || string(b) != "second" {
						t.Errorf("%d to %d: %q, %v", from, to, b, err)
					}
				})
			}
		}
	}
	wg.Wait()
	for _, g := range groups {
		if err := g.Err(); err != nil {
			t.Errorf("rank %d ended: %v", g.Rank(), err)
		}
		g.mu.Lock()
		for from, p := range g.peers {
			if p != nil && (p.eager != 0 || p.way != 0 || len(p.coming) > 0) {
				t.Errorf("rank %d: %d bytes of rank %d that nobody asked for, %d on the way, %d messages in", g.Rank(), p.eager, from, p.way, len(p.coming))
			}
		}
		if len(g.boxes) > 0 {
			t.Errorf("rank %d keeps boxes %v: a message came twice", g.Rank(), g.boxes)
		}
		g.mu.Unlock()
	}
}

// TestReplay gives a rank every frame of a finished exchange again.
func TestReplay(t *testing.T) {
	s := startServer(t)
	groups := joinAll(t, []Config{testConfig(connect(t, s), 5, 0, 2), testConfig(connect(t, s), 5, 1, 2)})
	ctx := testContext(t, 20*time.Second)
	spy := connect(t, s)
	var mu sync.Mutex
	var frames [][]byte
	if _, err := spy.Subscribe("ressa.job.job-1.rank.0", func(d *plane.Delivery) {
		b := make([]byte, d.Size())
		if _, err := io.ReadFull(d, b); err == nil {
			mu.Lock()
			frames = append(frames, b)
			mu.Unlock()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := spy.Flush(time.Second); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if err := groups[1].Send(ctx, 0, "t", randomBytes(uint64(i), 2500)); err != nil {
			t.Fatal(err)
		}
	}
	var recorded [][]byte
	until(t, groups[0], func(*Group) bool { // 12 chunks at least
		mu.Lock()
		defer mu.Unlock()
		recorded = slices.Clone(frames)
		return len(recorded) >= 12
	})
	for _, b := range append(slices.Clone(recorded), recorded...) {
		forge(t, spy, "0", b)
	}
	if err := groups[1].Send(ctx, 0, "t", []byte("last")); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		want := randomBytes(uint64(i), 2500)
		if i == 4 {
			want = []byte("last")
		}
		if got, err := groups[0].Recv(ctx, 1, "t"); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("message %d: %d bytes, %v", i, len(got), err)
		}
	}
	groups[0].mu.Lock()
	defer groups[0].mu.Unlock()
	if len(groups[0].boxes) > 0 || len(groups[0].peers[1].ended) > 1 {
		t.Errorf("%d boxes and %d ended messages are kept", len(groups[0].boxes), len(groups[0].peers[1].ended))
	}
}

// TestPaths joins ranks of which some cannot dial others, then cuts the path in use.
func TestPaths(t *testing.T) {
	servers := []plane.Conn{}
	own, hubServer := make([]*server.Server, 2), startServer(t)
	for r := range own {
		own[r] = startServer(t)
		servers = append(servers, connect(t, own[r]))
	}
	cut := func(c plane.Conn) *lossy { return &lossy{Conn: c, rng: rand.New(rand.NewPCG(1, 1))} }
	dialled, listen0, hub0, hub1 := cut(connect(t, own[0])), cut(servers[0]), cut(connect(t, hubServer)), cut(connect(t, hubServer))
	configs := []Config{testConfig(listen0, 5, 0, 2), testConfig(servers[1], 5, 1, 2)}
	configs[1].Peers = []plane.Conn{dialled, nil} // rank 0 cannot dial rank 1
	configs[0].Hub, configs[1].Hub = hub0, hub1
	for i := range configs {
		configs[i].RetryAfter = 30 * time.Millisecond
	}
	groups := joinAll(t, configs)
	if a, b := groups[0].Reach(1), groups[1].Reach(0); a != Reverse || b != Direct || groups[0].Reach(0) != "" {
		t.Fatalf("rank 0 reaches rank 1 by %q, rank 1 rank 0 by %q, want reverse and direct", a, b)
	}
	both := func(name string) {
		t.Helper()
		ctx := testContext(t, 20*time.Second)
		var wg sync.WaitGroup
		for r, g := range groups {
			want := randomBytes(uint64(r), 20_000)
			wg.Go(func() {
				if err := g.Send(ctx, 1-r, name, want); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			wg.Go(func() {
				if got, err := groups[1-r].Recv(ctx, r, name); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			})
		}
		wg.Wait()
	}
	both("all paths")
	dialled.dead.Store(true) // what rank 1 publishes on rank 0's server is lost
	listen0.dead.Store(true) // and what rank 0 does
	both("dead paths")
	if a, b := groups[0].Reach(1), groups[1].Reach(0); a != Hub || b != Hub {
		t.Errorf("after the paths died rank 0 reaches rank 1 by %q and is reached by %q, want the hub", a, b)
	}
}

// TestQuestionForAPathIsLost loses what a rank asks as it looks for a path. All else
// is answered at once, so that nothing but the question itself can be missed.
func TestQuestionForAPathIsLost(t *testing.T) {
	s := startServer(t)
	l := &lossy{Conn: connect(t, s), rng: rand.New(rand.NewPCG(1, 1))}
	configs := []Config{testConfig(l, 5, 0, 2), testConfig(connect(t, s), 5, 1, 2)}
	configs[0].RetryAfter = 30 * time.Millisecond
	groups := joinAll(t, configs)
	time.Sleep(2 * configs[0].RetryAfter)
	l.dead.Store(true)
	groups[0].search(groups[0].peers[1])
	l.dead.Store(false)
	if way := groups[0].Reach(1); way != "" {
		t.Fatalf("the path %q is known already", way)
	}
	if err := groups[0].Send(testContext(t, 5*time.Second), 1, "t", randomBytes(1, 5000)); err != nil {
		t.Error(err)
	}
}

func TestRestartWithinAGeneration(t *testing.T) {
	s := startServer(t)
	groups := joinAll(t, []Config{testConfig(connect(t, s), 5, 0, 2), testConfig(connect(t, s), 5, 1, 2)})
	again, err := Join(testContext(t, 5*time.Second), testConfig(connect(t, s), 5, 1, 2))
	if err == nil {
		again.Close()
	}
	select {
	case <-groups[0].Done():
	case <-time.After(5 * time.Second):
		t.Error("a rank that joined twice goes unnoticed: what it has received is gone")
	}
}

// TestRecvIntoEndsWithItsMemory ends a RecvInto in the middle of a message and asks
// for it again: nothing may be written to the memory of the first call any more.
func TestRecvIntoEndsWithItsMemory(t *testing.T) {
	groups := hub(t, 2, nil)
	c := groups[1].config.Listen
	half := frame{kind: kindData, from: 1, generation: 5, id: 77, total: 8, tag: "t", payload: []byte("half")}
	buf := make([]byte, 8)
	received := make(chan error, 1)
	ctx := testContext(t, 300*time.Millisecond)
	go func() { _, err := groups[0].RecvInto(ctx, 1, "t", buf); received <- err }()
	until(t, groups[0], func(g *Group) bool { return len(g.boxes) == 1 })
	forge(t, c, "0", whole(half))
	if err := <-received; err == nil {
		t.Fatal("half a message was received")
	}
	if string(buf[:4]) != "half" {
		t.Errorf("%q: the chunk was not read to where it belongs", buf)
	}
	clear(buf)
	half.offset = 4
	forge(t, c, "0", whole(half))
	if got, err := groups[0].Recv(testContext(t, 5*time.Second), 1, "t"); err != nil || string(got) != "halfhalf" {
		t.Errorf("%q, %v", got, err)
	}
	if !bytes.Equal(buf, make([]byte, 8)) {
		t.Errorf("%q was written to memory that had been given back", buf)
	}
	go func() { _ = groups[1].Send(testContext(t, 5*time.Second), 0, "long", make([]byte, 100)) }()
	if _, err := groups[0].RecvInto(testContext(t, 5*time.Second), 1, "long", buf); err == nil {
		t.Error("a message longer than its memory was received")
	}
}

// TestManyMessagesStayBelowTheLimit keeps what is on the way to one rank below
// Config.InFlight, whatever the number of messages.
func TestManyMessagesStayBelowTheLimit(t *testing.T) {
	groups := hub(t, 3, func(c *Config) { c.InFlight = 6000 })
	ctx := testContext(t, 20*time.Second)
	var wg sync.WaitGroup
	for _, g := range groups[1:] {
		for i := range 20 {
			wg.Go(func() {
				if err := g.Send(ctx, 0, fmt.Sprint(i), make([]byte, 5000)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			for _, g := range groups[1:] {
				g.mu.Lock()
				if g.peers[0].way > 3000 {
					t.Errorf("%d bytes are on the way from rank %d, at most 3000", g.peers[0].way, g.Rank())
				}
				g.mu.Unlock()
			}
		}
	}()
	wg.Wait()
	close(stop)
}
