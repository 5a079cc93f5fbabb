package group

import (
	"context"
	"errors"
	"testing"
	"time"

	"ressa/collective/plane"
)

// forge publishes a frame as if another rank had sent it.
func forge(t *testing.T, c plane.Conn, to string, b []byte) {
	t.Helper()
	if err := errors.Join(c.Publish("ressa.job.job-1.rank."+to, nil, b), c.Flush(time.Second)); err != nil {
		t.Fatal(err)
	}
}

// until waits for a state of the group.
func until(t *testing.T, g *Group, reached func(*Group) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		g.mu.Lock()
		ok := reached(g)
		g.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the group does not reach the state")
		}
	}
}

func TestRefusedSenderIsTold(t *testing.T) {
	groups := hub(t, 2, func(c *Config) {
		if c.Rank == 0 {
			c.MaxMessage = 5000
		}
	})
	ctx := testContext(t, 10*time.Second)
	if err := groups[1].Send(ctx, 0, "t", make([]byte, 5001)); !errors.Is(err, ErrLost) {
		t.Errorf("a message that the receiver refuses: %v", err)
	}
	if err := groups[0].Send(ctx, 1, "t", make([]byte, 5001)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a message above the sender's own limit: %v", err)
	}
}

func TestCorruptFrameAbortsTheGroup(t *testing.T) {
	groups := hub(t, 2, nil)
	f := frame{kind: kindData, from: 1, generation: 5, id: 1, total: 4, tag: "t", payload: []byte("data")}
	b := whole(f)
	b[len(b)-1] ^= 1
	forge(t, groups[1].config.Listen, "0", b)
	ctx := testContext(t, 10*time.Second)
	if _, err := groups[0].Recv(ctx, 1, "t"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the receiver: %v", err)
	}
	var abort *AbortError
	if _, err := groups[1].Recv(ctx, 0, "t"); !errors.As(err, &abort) || abort.Rank != 0 {
		t.Errorf("the other rank: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	groups := hub(t, 2, func(c *Config) { c.EagerBytes = 0 })
	ctx := testContext(t, 10*time.Second)
	short := func() context.Context { return testContext(t, 100*time.Millisecond) }
	if _, err := groups[0].Recv(short(), 1, "t"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing comes: %v", err)
	}
	if err := groups[1].Send(short(), 0, "t", make([]byte, 9000)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody asks: %v", err)
	}
	if _, err := groups[0].Recv(context.Background(), 1, "t"); !errors.Is(err, ErrNoDeadline) {
		t.Errorf("no deadline: %v", err)
	}
	// What the sender gave up is gone; the next message under that tag passes.
	until(t, groups[0], func(g *Group) bool { return len(g.peers[1].coming) == 0 })
	sent := make(chan error, 1)
	go func() { sent <- groups[1].Send(ctx, 0, "t", []byte("second")) }()
	if got, err := groups[0].Recv(ctx, 1, "t"); err != nil || string(got) != "second" {
		t.Errorf("%q, %v", got, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestRecvThatTimesOutKeepsTheMessage(t *testing.T) {
	groups := hub(t, 2, nil)
	ctx := testContext(t, 10*time.Second)
	c := groups[1].config.Listen
	half := frame{kind: kindData, from: 1, generation: 5, id: 77, total: 8, tag: "t", payload: []byte("half")}
	forge(t, c, "0", whole(half))
	if _, err := groups[0].Recv(testContext(t, 200*time.Millisecond), 1, "t"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	half.offset = 4
	forge(t, c, "0", whole(half))
	if got, err := groups[0].Recv(ctx, 1, "t"); err != nil || string(got) != "halfhalf" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestJoinWaitsForAll(t *testing.T) {
	s := startServer(t)
	_, err := Join(testContext(t, 200*time.Millisecond), testConfig(connect(t, s), 1, 0, 2))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("joined a group whose other rank is not there: %v", err)
	}
	var early *Group
	joined := make(chan error, 1)
	go func() {
		var err error
		early, err = Join(testContext(t, 10*time.Second), testConfig(connect(t, s), 2, 0, 2))
		joined <- err
	}()
	time.Sleep(150 * time.Millisecond) // hellos into the void
	late, err := Join(testContext(t, 10*time.Second), testConfig(connect(t, s), 2, 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	early.Close()
}

func TestClosedGroup(t *testing.T) {
	groups := hub(t, 2, nil)
	ctx := testContext(t, 10*time.Second)
	waiting := make(chan error, 1)
	go func() { _, err := groups[0].Recv(ctx, 1, "t"); waiting <- err }()
	groups[0].Close()
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("a call that waited: %v", err)
	}
	if err := groups[0].Send(ctx, 1, "t", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a later call: %v", err)
	}
}

func TestConfigCheck(t *testing.T) {
	c := connect(t, startServer(t))
	for name, change := range map[string]func(*Config){
		"job":        func(c *Config) { c.Job = "a.b" },
		"empty job":  func(c *Config) { c.Job = "" },
		"rank":       func(c *Config) { c.Rank = 2 },
		"connection": func(c *Config) { c.Listen = nil },
		"peers":      func(c *Config) { c.Peers = make([]plane.Conn, 3) },
		"window":     func(c *Config) { c.Window = 0 },
		"logger":     func(c *Config) { c.Logger = nil },
	} {
		config := testConfig(c, 1, 0, 2)
		change(&config)
		if g, err := Join(testContext(t, time.Second), config); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, %v", name, g, err)
		}
	}
	config := testConfig(c, 1, 0, 2)
	config.Job = "a-b"
	if _, err := Join(context.Background(), config); !errors.Is(err, ErrNoDeadline) {
		t.Errorf("no deadline: %v", err)
	}
}

func TestPeerArguments(t *testing.T) {
	groups := hub(t, 2, nil)
	ctx := testContext(t, time.Second)
	for _, peer := range []int{-1, 0, 2} {
		if err := groups[0].Send(ctx, peer, "t", nil); err == nil {
			t.Errorf("sent to rank %d", peer)
		}
	}
	if _, err := groups[0].Recv(ctx, 1, string(make([]byte, maxTag+1))); err == nil {
		t.Error("a tag too long was accepted")
	}
}
