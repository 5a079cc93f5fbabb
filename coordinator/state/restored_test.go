package state

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"ressa/coordinator/api"
)

// took makes a replica that holds a restored state.
func took(t *testing.T, s *State) *machine {
	t.Helper()
	m := newMachine(t)
	back, err := Read(bytes.NewReader(bytesOf(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytesOf(t, back), bytesOf(t, s)) {
		t.Error("the restored state is another one once it is read")
	}
	m.fsm.set(back)
	return m
}

// A job goes on behind every generation that it can have had: none of its old plans
// is given to a node, none of its workers is believed, and the next plan has a number
// of its own.
func TestRestoredJobsAreFenced(t *testing.T) {
	m := newMachine(t)
	m.do(running()...)
	m.do(submit("b"), member("c1"))
	old := m.state()
	m.do(plan("a", 2, "t2", "t3"), started("a", 2), plan("a", 3, "t1", "t3"), started("a", 3), node("t4"), member("c2"), cancel("b"))
	now := m.state()
	s, again := Restored(old, now, at(900))
	r := took(t, s)
	a := s.Job("a")
	if len(again) != 1 || again[0] != "a" || a.State != api.Pending || a.Generation != 4 || len(a.Plan.Nodes) > 0 || s.Job("b").State != api.Pending {
		t.Fatalf("planned again %v; job a %s in generation %d on %v, b %s", again, a.State, a.Generation, a.Plan.Nodes, s.Job("b").State)
	}
	if s.Node("t4") == nil || len(s.Members()) != 2 || s.Index() != now.Index() {
		t.Errorf("nodes %v, members %v, index %d; want those of now", s.Nodes(), s.Members(), s.Index())
	}
	for _, n := range s.Nodes() {
		if x := s.Assignments(n.Info.Name, n.Info.Session); x != nil {
			t.Errorf("node %s is told %+v", n.Info.Name, x)
		}
	}
	for _, stale := range []Body{
		report("a", "t1", 0, 3, api.Succeeded), report("a", "t2", 0, 2, api.Failed), report("a", "t1", 0, 1, api.Failed), started("a", 3), finish("a", 3, api.Failed),
		publish("a", 3, 10), unplan("a", 3, 1), plan("a", 2, "t1", "t2"), plan("a", 4, "t1", "t2"),
	} {
		if got := r.try(stale); !errors.Is(got.Err, ErrStaleGeneration) {
			t.Errorf("%s of a generation that is over: %v", stale.kind(), got.Err)
		}
	}
	r.do(plan("a", 5, "t1", "t2"), started("a", 5))

	// Of a job that the present does not know nobody can say how far it was.
	s, _ = Restored(old, Empty(), at(900))
	if g := s.Job("a").Generation; g <= 100_000 {
		t.Errorf("unknown now, the job is in generation %d", g)
	}
}

func TestRestoredEnds(t *testing.T) {
	m := newMachine(t)
	m.do(running()...)
	m.do(cancel("a"))
	s, again := Restored(m.state(), m.state(), at(900))
	if a := s.Job("a"); a.State != api.Cancelled || len(again) > 0 || a.ExitCode != api.ExitCancelled {
		t.Errorf("a job that was being cancelled is %s, planned again %v", a.State, again)
	}
	took(t, s)
	m = newMachine(t)
	m.do(running()...)
	m.do(report("a", "t1", 0, 1, api.Succeeded), finish("a", 1, api.Succeeded), submit("b"), inspected("b"), plan("b", 1, "t1"), finish("b", 1, api.Failed))
	s, again = Restored(m.state(), m.state(), at(900))
	if a := s.Job("a"); a.State != api.Succeeded || a.Generation != 1 || a.Result == nil || len(again) > 0 {
		t.Errorf("a job that has succeeded: %s in generation %d", a.State, a.Generation)
	}
	r := took(t, s)
	r.do(resume("b"), inspected("b")) // its generation 1 may be at work still
	if got := r.try(plan("b", 2, "t1")); !errors.Is(got.Err, ErrStaleGeneration) {
		t.Errorf("a failed job that goes on in a generation that it may have had: %v", got.Err)
	}
}

// TestRestoredAnything restores the states that random commands lead to.
func TestRestoredAnything(t *testing.T) {
	for seed := range uint64(20) {
		d := draw{rand.New(rand.NewPCG(seed, 2))}
		m := newMachine(t)
		var old *State
		for i := range 300 {
			if i == 100+d.IntN(150) || i == 250 && old == nil {
				old = m.state()
			}
			m.log(m.state().Index()+1, encoded(t, Command{at(m.state().Index() + 1), d.command(m.state())}))
		}
		now := m.state()
		s, _ := Restored(old, now, at(5000))
		r := took(t, s)
		for _, j := range s.Jobs() {
			was, is := old.Job(j.ID), now.Job(j.ID)
			if j.Active() || j.State != api.Succeeded && (j.Generation <= was.Generation || is != nil && j.Generation <= is.Generation) {
				t.Fatalf("seed %d: job %s is %s in generation %d; was in %d", seed, j.ID, j.State, j.Generation, was.Generation)
			}
			if old.Job(j.ID).Active() && j.Reports != nil {
				t.Fatalf("seed %d: job %s keeps reports", seed, j.ID)
			}
		}
		if len(s.busy) > 0 || s.open != len(s.Pending()) || len(s.Jobs()) != len(old.Jobs()) {
			t.Fatalf("seed %d: held are %v, %d open, %d jobs of %d", seed, s.busy, s.open, len(s.Jobs()), len(old.Jobs()))
		}
		for range 100 { // it goes on as any other
			before := r.state()
			index := before.Index() + 1
			r.log(index, encoded(t, Command{at(index), d.command(before)}))
			if why := broken(before, r.state(), index); why != "" {
				t.Fatalf("seed %d: %s", seed, why)
			}
		}
	}
}
