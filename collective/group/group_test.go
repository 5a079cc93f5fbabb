package group

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ressa/collective/plane"
)

func startServer(t testing.TB) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

// connect returns a connection as nats.go makes it.
func connect(t testing.TB, s *server.Server, options ...nats.Option) plane.Conn {
	t.Helper()
	c, err := nats.Connect(s.ClientURL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return plane.Wrap(c)
}

func testContext(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// testConfig has small chunks, so that small messages need many.
func testConfig(c plane.Conn, generation uint64, rank, world int) Config {
	config := DefaultConfig()
	config.Job, config.Generation, config.Rank, config.World, config.Listen = "job-1", generation, rank, world, c
	config.ChunkBytes, config.Window = 1000, 3
	config.Logger = slog.New(slog.DiscardHandler)
	return config
}

func joinAll(t testing.TB, configs []Config) []*Group {
	t.Helper()
	groups := make([]*Group, len(configs))
	var wg sync.WaitGroup
	for i, c := range configs {
		wg.Go(func() {
			var err error
			if groups[i], err = Join(testContext(t, 10*time.Second), c); err != nil {
				t.Errorf("rank %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() {
		for _, g := range groups {
			g.Close()
		}
	})
	return groups
}

// hub joins world ranks through one server.
func hub(t testing.TB, world int, change func(*Config)) []*Group {
	t.Helper()
	s := startServer(t)
	configs := make([]Config, world)
	for r := range configs {
		configs[r] = testConfig(connect(t, s), 5, r, world)
		if change != nil {
			change(&configs[r])
		}
	}
	return joinAll(t, configs)
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestAllPairs sends messages of all sorts of sizes between all ranks at once,
// through one server and through a server in each rank.
func TestAllPairs(t *testing.T) {
	const world = 3
	direct := func(t testing.TB) []*Group {
		servers := make([]*server.Server, world)
		for r := range servers {
			servers[r] = startServer(t)
		}
		configs := make([]Config, world)
		for r := range configs {
			configs[r] = testConfig(connect(t, servers[r], nats.InProcessServer(servers[r])), 5, r, world)
			configs[r].Peers = make([]plane.Conn, world)
			for p := range servers {
				if p != r {
					configs[r].Peers[p] = connect(t, servers[p])
				}
			}
		}
		return joinAll(t, configs)
	}
	for name, join := range map[string]func(testing.TB) []*Group{
		"hub":    func(t testing.TB) []*Group { return hub(t, world, nil) },
		"direct": direct,
	} {
		t.Run(name, func(t *testing.T) {
			groups := join(t)
			ctx := testContext(t, 20*time.Second)
			sizes := []int{0, 1, 999, 1000, 1001, 3000, 64_000, 300_001}
			var wg sync.WaitGroup
			for from, g := range groups {
				for to := range groups {
					if from == to {
						continue
					}
					for i, size := range sizes {
						tag, want := fmt.Sprintf("m%d", i), randomBytes(uint64(from*100+to*10+i), size)
						wg.Go(func() {
							if err := g.Send(ctx, to, tag, want); err != nil {
								t.Error(err)
							}
						})
						wg.Go(func() {
							got, err := groups[to].Recv(ctx, from, tag)
							if err != nil || !bytes.Equal(got, want) {
								t.Errorf("%d to %d, %d bytes: got %d bytes, %v", from, to, size, len(got), err)
							}
						})
					}
				}
			}
			wg.Wait()
			for _, g := range groups {
				g.mu.Lock()
				if len(g.boxes)+len(g.outgoing) > 0 {
					t.Errorf("rank %d keeps %d boxes, %d messages out", g.Rank(), len(g.boxes), len(g.outgoing))
				}
				for from, p := range g.peers {
					if p != nil && (p.eager != 0 || p.way != 0 || len(p.coming) > 0 || len(p.active) > 0) {
						t.Errorf("rank %d counts %d bytes of rank %d that nobody asked for, %d on the way to it, %d messages in, %d out",
							g.Rank(), p.eager, from, p.way, len(p.coming), len(p.active))
					}
				}
				g.mu.Unlock()
			}
		})
	}
}

func TestOneTagKeepsOrder(t *testing.T) {
	groups := hub(t, 2, nil)
	ctx := testContext(t, 10*time.Second)
	for i := range 20 {
		if err := groups[0].Send(ctx, 1, "t", randomBytes(uint64(i), 100*i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		got, err := groups[1].Recv(ctx, 0, "t")
		if err != nil || !bytes.Equal(got, randomBytes(uint64(i), 100*i)) {
			t.Fatalf("message %d: %d bytes, %v", i, len(got), err)
		}
	}
}

// TestBackPressure fills what a receiver keeps unasked: the sender then waits,
// and messages that are asked for still pass.
func TestBackPressure(t *testing.T) {
	groups := hub(t, 2, func(c *Config) { c.EagerBytes = 5000 })
	ctx := testContext(t, 10*time.Second)
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := groups[0].Send(short, 1, "small", randomBytes(1, 4000)); err != nil {
		t.Fatalf("a message within the limit: %v", err)
	}
	sent := make(chan error, 1)
	go func() { sent <- groups[0].Send(ctx, 1, "big", randomBytes(2, 100_000)) }()
	asked := make(chan error, 1)
	go func() { asked <- groups[0].Send(ctx, 1, "asked", randomBytes(3, 50_000)) }()
	if got, err := groups[1].Recv(ctx, 0, "asked"); err != nil || len(got) != 50_000 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-sent:
		t.Fatalf("a message that nobody asked for was acknowledged beyond the limit: %v", err)
	default:
	}
	groups[1].mu.Lock()
	held := groups[1].peers[0].eager
	groups[1].mu.Unlock()
	if most := 5000 + 3*1000 + 1000; held > most {
		t.Errorf("the receiver holds %d bytes unasked, at most %d", held, most)
	}
	for _, tag := range []string{"big", "small"} {
		if _, err := groups[1].Recv(ctx, 0, tag); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func TestBarrier(t *testing.T) {
	groups := hub(t, 4, nil)
	ctx := testContext(t, 10*time.Second)
	var mu sync.Mutex
	arrived := map[int]int{}
	var wg sync.WaitGroup
	for r, g := range groups {
		wg.Go(func() {
			for round := range 5 {
				mu.Lock()
				arrived[round]++
				mu.Unlock()
				if err := g.Barrier(ctx); err != nil {
					t.Errorf("rank %d: %v", r, err)
					return
				}
				mu.Lock()
				if arrived[round] != len(groups) {
					t.Errorf("rank %d passed barrier %d with %d ranks at it", r, round, arrived[round])
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestAbortEndsEverything(t *testing.T) {
	groups := hub(t, 3, nil)
	ctx := testContext(t, 20*time.Second)
	failed := make(chan error, 3)
	go func() { _, err := groups[0].Recv(ctx, 1, "never"); failed <- err }()
	go func() { failed <- groups[2].Barrier(ctx) }()
	go func() { _, err := groups[1].Recv(ctx, 0, "never"); failed <- err }()
	cause := errors.New("device lost")
	groups[1].Abort(cause)
	groups[1].Abort(errors.New("later"))
	for range 3 {
		var abort *AbortError
		if err := <-failed; !errors.As(err, &abort) || abort.Rank != 1 || abort.Reason != "device lost" {
			t.Errorf("got %v, want the abort of rank 1", err)
		}
	}
	if err := groups[2].Send(ctx, 0, "t", nil); err == nil || !strings.Contains(err.Error(), "device lost") {
		t.Errorf("a send after the abort: %v", err)
	}
	if err := groups[1].Err(); !errors.Is(err, cause) {
		t.Errorf("the aborting rank keeps %v", err)
	}
}

func TestGenerations(t *testing.T) {
	s := startServer(t)
	old := joinAll(t, []Config{testConfig(connect(t, s), 5, 0, 2), testConfig(connect(t, s), 5, 1, 2)})
	ctx := testContext(t, 10*time.Second)
	waiting := make(chan error, 1)
	go func() { _, err := old[0].Recv(ctx, 1, "t"); waiting <- err }()
	// The old ranks listen where the new ones do, and hear their hellos.
	fresh := joinAll(t, []Config{testConfig(connect(t, s), 6, 0, 3), testConfig(connect(t, s), 6, 2, 3), testConfig(connect(t, s), 6, 1, 3)})
	if err := <-waiting; !errors.Is(err, ErrSuperseded) {
		t.Errorf("a call of the old generation: %v", err)
	}
	if err := old[1].Send(ctx, 0, "t", []byte("stale")); !errors.Is(err, ErrSuperseded) {
		t.Errorf("a send of the old generation: %v", err)
	}
	if err := fresh[2].Send(ctx, 0, "t", []byte("fresh")); err != nil {
		t.Fatal(err)
	}
	if got, err := fresh[0].Recv(ctx, 1, "t"); err != nil || string(got) != "fresh" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStaleFramesAreDropped(t *testing.T) {
	s := startServer(t)
	c := connect(t, s)
	groups := joinAll(t, []Config{testConfig(connect(t, s), 5, 0, 2), testConfig(connect(t, s), 5, 1, 2)})
	stale := frame{kind: kindData, from: 1, generation: 4, id: 1, total: 5, tag: "t", payload: []byte("stale")}
	abort := frame{kind: kindAbort, from: 1, generation: 4, payload: []byte("old quarrel")}
	for _, f := range []frame{stale, abort} {
		if err := c.Publish("ressa.job.job-1.rank.0", nil, whole(f)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(time.Second); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t, 10*time.Second)
	if err := groups[1].Send(ctx, 0, "t", []byte("fresh")); err != nil {
		t.Fatal(err)
	}
	if got, err := groups[0].Recv(ctx, 1, "t"); err != nil || string(got) != "fresh" {
		t.Errorf("%q, %v", got, err)
	}
}
