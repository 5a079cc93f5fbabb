package leader_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"ressa/coordinator/api"
	"ressa/coordinator/leader"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

// alone is the log of a cluster of one member: what is proposed is committed.
type alone struct {
	fsm   *state.FSM
	index uint64
}

// done is a future that has come.
type done struct {
	index    uint64
	response any
}

func (d done) Error() error  { return nil }
func (d done) Response() any { return d.response }
func (d done) Index() uint64 { return d.index }

func (a *alone) Apply(raw []byte, _ time.Duration) raft.ApplyFuture {
	index := atomic.AddUint64(&a.index, 1)
	return done{index, a.fsm.Apply(&raft.Log{Index: index, Data: raw})}
}

func (a *alone) Barrier(time.Duration) raft.Future { return done{} }

// nobody is a hub that nobody is on.
type nobody struct{}

func (nobody) Inspect(_ context.Context, node, _ string) (api.Inspection, error) {
	return api.Inspection{}, fmt.Errorf("node %s is not on the hub", node)
}
func (nobody) Nudge(string)   {}
func (nobody) URLs() []string { return nil }

// lead runs a loop that leads, in a bubble; clocks are ahead of the bubble's by what
// is returned.
func lead(t *testing.T) (l *leader.Loop, fsm *state.FSM, wall, steady *atomic.Int64) {
	t.Helper()
	wall, steady = new(atomic.Int64), new(atomic.Int64)
	fsm = state.NewFSM()
	ahead := func(by *atomic.Int64) func() time.Time {
		return func() time.Time { return time.Now().Add(time.Duration(by.Load())) }
	}
	l = leader.New(leader.Config{ID: "c1", Version: "1", Schedule: schedule.DefaultConfig(3 * time.Second), State: fsm, Log: &alone{fsm: fsm}, Nodes: nobody{},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Decide: schedule.Decide, Now: ahead(wall), Steady: ahead(steady)})
	ctx, cancel := context.WithCancel(t.Context())
	leads := make(chan bool, 1)
	leads <- true
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run(ctx, leads) }()
	t.Cleanup(func() { cancel(); <-ended })
	synctest.Wait()
	return l, fsm, wall, steady
}

func beat(t *testing.T, l *leader.Loop, name string) {
	t.Helper()
	info := &api.NodeInfo{Name: name, Session: "s", Version: "1", Devices: []api.Device{{Name: "cpu", Kind: "cpu"}}}
	if _, err := l.Beat(t.Context(), name, api.Beat{Session: "s", Info: info}); err != nil {
		t.Fatal(err)
	}
}

// A process that stood still has heard nobody meanwhile: no node is lost for it, also
// where the decision comes before anything else when it wakes.
func TestAPauseEndsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, fsm, _, steady := lead(t)
		beat(t, l, "t1")
		time.Sleep(700 * time.Millisecond)
		steady.Add(int64(10 * time.Second))
		if _, err := l.Propose(t.Context(), &state.Drain{Name: "t1", Drain: true, Reason: "asked for"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, d := range fsm.State().History() {
			if d.Action == "node-lost" {
				t.Fatalf("node t1 was lost: %s", d.Reason)
			}
		}
		time.Sleep(3 * time.Second)
		if n := fsm.State().Node("t1"); n.State != api.NodeLost {
			t.Fatalf("node t1, silent for 4.7 s of its leader's time, is %s", n.State)
		}
	})
}

// Leases do not hang on the wall clock.
func TestAClockJumpEndsNoLease(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			l, fsm, wall, _ := lead(t)
			beat(t, l, "t1")
			wall.Store(int64(jump))
			time.Sleep(2900 * time.Millisecond)
			if n := fsm.State().Node("t1"); n.State != api.NodeReady {
				t.Errorf("after %v node t1 is %s: %s", jump, n.State, n.Reason)
			}
			time.Sleep(time.Second)
			if n := fsm.State().Node("t1"); n.State != api.NodeLost {
				t.Errorf("after %v node t1, silent for 3.9 s, is %s", jump, n.State)
			}
		})
	}
}
