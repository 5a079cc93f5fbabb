package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"ressa/coordinator/api"
)

// apply goes past the log, for the many commands that reach a limit.
func apply(t *testing.T, s *State, bodies ...Body) *State {
	t.Helper()
	for _, b := range bodies {
		var r Reply
		s, r = s.next(s.index+1, Command{at(s.index + 1), b}, true)
		if r.Err != nil {
			t.Fatalf("%s: %v", b.kind(), r.Err)
		}
	}
	return s
}

func TestMembersAreBounded(t *testing.T) {
	s := Empty()
	for i := range MaxMembers {
		s = apply(t, s, member(fmt.Sprintf("c%d", i)))
	}
	_, r := s.Simulate(Command{at(0), member("one-more")})
	if want := "member: 64 coordinators are known, at most 64 can be: limit reached"; !errors.Is(r.Err, ErrFull) || r.Err.Error() != want {
		t.Errorf("found %v, want %s", r.Err, want)
	}
	moved := member("c0")
	moved.Member.Addr = "127.0.0.1:7500"
	if _, r := s.Simulate(Command{at(0), moved}); r.Err != nil {
		t.Errorf("a known one may still move: %v", r.Err)
	}
}

// TestNodesAreBounded takes a job on many nodes that are lost under it: it counts
// on them until it ends, then all but the MaxAway that were lost last go at once.
func TestNodesAreBounded(t *testing.T) {
	s := apply(t, Empty(), submit("a"), inspected("a"))
	const held = 300
	var names []string
	for i := range held {
		names = append(names, fmt.Sprintf("h%03d", i))
		s = apply(t, s, node(names[i]))
	}
	s = apply(t, s, plan("a", 1, names...))
	for _, n := range names {
		s = apply(t, s, setNode(n, api.NodeLost))
	}
	for i := range MaxAway {
		n := fmt.Sprintf("n%04d", i)
		s = apply(t, s, node(n), setNode(n, api.NodeLeft))
	}
	if len(s.Nodes()) != held+MaxAway {
		t.Fatalf("%d nodes, want the job's %d and %d that are away", len(s.Nodes()), held, MaxAway)
	}
	s = apply(t, s, finish("a", 1, api.Failed), node("last"), setNode("last", api.NodeLost))
	if len(s.Nodes()) != MaxAway || s.Node("h299") != nil || s.Node("n0000") != nil || s.Node("n0001") == nil || s.Node("last") == nil {
		t.Errorf("%d nodes are left, want the %d that went last", len(s.Nodes()), MaxAway)
	}
	for i := 0; len(s.nodes) < MaxNodes; i++ {
		s = apply(t, s, node(fmt.Sprintf("ready%d", i)))
	}
	_, r := s.Simulate(Command{at(0), node("one-more")})
	if want := "register: 10000 nodes are registered, at most 10000 can be: limit reached"; !errors.Is(r.Err, ErrFull) || r.Err.Error() != want {
		t.Errorf("found %v, want %s", r.Err, want)
	}
	if _, r := s.Simulate(Command{at(0), node("n0001")}); r.Err != nil {
		t.Errorf("a known one may still come back: %v", r.Err)
	}
}

func TestJobsAreBounded(t *testing.T) {
	s := apply(t, Empty(), submit("first"), cancel("first"))
	for i := range MaxEnded {
		id := fmt.Sprintf("e%d", i)
		s = apply(t, s, submit(id), cancel(id))
	}
	if len(s.Jobs()) != MaxEnded || s.Job("first") != nil || s.Job("e0") == nil || s.Submitted("token-first") != nil {
		t.Errorf("%d jobs, want the %d that ended last", len(s.Jobs()), MaxEnded)
	}
	for i := range MaxOpen {
		s = apply(t, s, submit(fmt.Sprintf("o%d", i)))
	}
	const full = "2000 jobs have not ended, at most 2000 may wait: limit reached"
	for _, b := range []Body{submit("one-more"), resume("e5")} {
		if _, r := s.Simulate(Command{at(0), b}); !errors.Is(r.Err, ErrFull) || r.Err.Error() != b.kind()+": "+full {
			t.Errorf("%s: found %v, want %s", b.kind(), r.Err, full)
		}
	}
	if _, r := s.Simulate(Command{at(0), submit("o7")}); r.Err != nil || !r.Existing {
		t.Errorf("a repeated submission of a full cluster: existing %v, %v", r.Existing, r.Err)
	}
	s = apply(t, s, cancel("o7"))
	if _, r := s.Simulate(Command{at(0), resume("e5")}); r.Err != nil {
		t.Errorf("after one has ended: %v", r.Err)
	}
}

// TestHistoriesAreBounded waits alternately for two reasons: the first decisions
// about a job and the newest stay.
func TestHistoriesAreBounded(t *testing.T) {
	s := apply(t, Empty(), node("t1"), submit("a"))
	codes := []string{Busy, Reserved}
	for i := range MaxHistory + 10 {
		s = apply(t, s, waiting("a", codes[i%2]))
	}
	past := s.Job("a").History
	if len(past) != MaxJobPast || len(s.History()) != MaxHistory {
		t.Fatalf("%d decisions of the job and %d of the cluster, want %d and %d", len(past), len(s.History()), MaxJobPast, MaxHistory)
	}
	for i, e := range past {
		want := uint64(i) + 2
		if i >= jobPastHead {
			want = s.Index() - uint64(MaxJobPast-1-i)
		}
		if e.Index != want {
			t.Fatalf("decision %d of the job is that of entry %d, want %d", i, e.Index, want)
		}
	}
	if first := s.History()[0]; first.Index != s.Index()-MaxHistory+1 {
		t.Errorf("the cluster's history begins at entry %d of %d", first.Index, s.Index())
	}
}

func TestCheckpointsAreBounded(t *testing.T) {
	s := apply(t, Empty(), running()...)
	for i := range MaxCheckpoints + 3 {
		s = apply(t, s, publish("a", 1, 10*i))
	}
	if c := s.Job("a").Checkpoints; len(c) != MaxCheckpoints || c[0].Step != 30 || s.Job("a").Checkpoint().Step != 180 {
		t.Errorf("%d checkpoints from step %d", len(c), c[0].Step)
	}
	s = apply(t, s, with(publish("a", 1, 190), func(c *Publish) { c.Keep = 2 }))
	if c := s.Job("a").Checkpoints; len(c) != 2 || c[0].Step != 180 || c[1].Step != 190 {
		t.Errorf("two are kept: %+v", c)
	}
	// The same step again, from another generation: the older manifest goes.
	s = apply(t, s, plan("a", 2, "t1", "t2"), publish("a", 2, 190))
	if c := s.Job("a").Checkpoints; len(c) != 2 || c[1].Generation != 2 || s.Job("a").Progress {
		t.Errorf("step 190 again: %+v, progress %v", c, s.Job("a").Progress)
	}
}

// TestStalledJobs ends a job's generations without progress: the one after
// MaxStalled of them is refused, and progress starts the count anew.
func TestStalledJobs(t *testing.T) {
	advance := func(s *State, gen int) *State { return apply(t, s, plan("a", gen, "t1")) }
	s := apply(t, Empty(), looked()...)
	gen := 1
	for ; gen <= MaxStalled; gen++ {
		s = advance(s, gen)
	}
	next := func() Reply { _, r := s.Simulate(Command{at(0), plan("a", gen, "t1")}); return r }
	if r := next(); !errors.Is(r.Err, ErrStalled) || r.Err.Error() != "plan: job a: 10 generations: too many generations without progress" {
		t.Errorf("after %d generations: %v", MaxStalled, r.Err)
	}
	if r := apply(t, s, publish("a", gen-1, 0)); r.Job("a").Progress != true {
		t.Error("the first checkpoint is progress")
	}
	stuck := s
	s = apply(t, stuck, publish("a", gen-1, 0))
	if r := next(); r.Err != nil || r.Job.Stalled != 0 {
		t.Errorf("after a checkpoint: %v", r.Err)
	}
	s = stuck
	higher := plan("a", gen, "t1")
	higher.Step = 1
	if _, r := s.Simulate(Command{at(0), higher}); r.Err != nil || r.Job.Stalled != 0 || r.Job.Step != 1 {
		t.Errorf("after a step: %v", r.Err)
	}
	s = apply(t, stuck, finish("a", gen-1, api.Failed), resume("a"), inspected("a"))
	if r := next(); r.Err != nil {
		t.Errorf("after a user resumed it: %v", r.Err)
	}
}

// TestLongTexts cuts reasons at a whole character, the same on every replica.
func TestLongTexts(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{strings.Repeat("x", maxText), strings.Repeat("x", maxText)},
		{strings.Repeat("x", maxText+1), strings.Repeat("x", maxText-3) + "…"},
		{strings.Repeat("ä", maxText), strings.Repeat("ä", (maxText-3)/2) + "…"},
	} {
		got := c.text
		cut(&got)
		if got != c.want || len(got) > maxText || !utf8.ValidString(got) {
			t.Errorf("%d bytes are cut to %d, want %d", len(c.text), len(got), len(c.want))
		}
		again := got
		cut(&again)
		if again != got {
			t.Error("a cut text is cut again")
		}
		m := newMachine(t)
		m.do(node("t1"), &Drain{"t1", true, c.text})
		if r := m.state().Node("t1").Reason; r != c.want {
			t.Errorf("the state has %d bytes", len(r))
		}
	}
}
