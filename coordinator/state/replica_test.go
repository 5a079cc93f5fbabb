package state

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"ressa/coordinator/api"
)

// draw makes random commands about a few jobs and nodes. Most fit the state, or
// nothing would ever run; the others come too early, too late or for nobody.
type draw struct{ *rand.Rand }

func (d draw) of(s ...string) string { return s[d.IntN(len(s))] }

func (d draw) node() string { return d.of("t1", "t2", "t3", "t4") }

// job prefers jobs in the states in which a command makes sense.
func (d draw) job(s *State, in func(*Job) bool) *Job {
	var fit []*Job
	for _, j := range s.Jobs() {
		if in(j) || d.IntN(20) == 0 {
			fit = append(fit, j)
		}
	}
	if len(fit) == 0 {
		return &Job{ID: "nobody"}
	}
	return fit[d.IntN(len(fit))]
}

func (d draw) generation(j *Job) int {
	if d.IntN(8) == 0 {
		return j.Generation + d.IntN(4) - 2
	}
	return j.Generation
}

func (d draw) command(s *State) Body {
	waits := func(j *Job) bool { return j.State == api.Pending }
	blank := func(j *Job) bool { return waits(j) && j.Inspection == nil }
	switch d.IntN(21) {
	case 0:
		return submit(string(rune('a' + d.IntN(20))))
	case 1, 2:
		in := inspected(d.job(s, blank).ID)
		in.Inspection.Strict = d.IntN(3) == 0
		if d.IntN(6) == 0 {
			in.Inspection.Error = "no such model"
		}
		return in
	case 3:
		return waiting(d.job(s, waits).ID, d.of(NoNodes, Busy, Reserved, DoesNotFit))
	case 4, 5, 6:
		return d.plan(s, d.job(s, func(j *Job) bool { return j.Active() || waits(j) && j.Inspection != nil }))
	case 7:
		j := d.job(s, (*Job).Active)
		return unplan(j.ID, d.generation(j), d.IntN(30))
	case 8, 9:
		j := d.job(s, func(j *Job) bool { return j.State == api.Starting })
		return started(j.ID, d.generation(j))
	case 10, 11:
		return d.report(d.job(s, (*Job).Active))
	case 12:
		j := d.job(s, (*Job).Active)
		if r := j.Report(0); r != nil && r.State == api.Succeeded {
			return finish(j.ID, d.generation(j), api.Succeeded)
		}
		return finish(j.ID, d.generation(j), d.of(api.Succeeded, api.Failed, api.Cancelled))
	case 13:
		return cancel(d.job(s, (*Job).Active).ID)
	case 14:
		return resume(d.job(s, (*Job).Over).ID)
	case 15:
		j := d.job(s, (*Job).Active)
		return with(publish(j.ID, d.generation(j), 10*d.IntN(4)), func(c *Publish) { c.Keep = d.IntN(3) })
	case 16:
		n := node(d.node())
		n.Info.Session += d.of("", "", "'")
		return n
	case 17:
		n := setNode(d.node(), d.of(api.NodeReady, api.NodeLost, api.NodeLeft))
		n.Session += d.of("", "", "'")
		return n
	case 18:
		return drain(d.node(), d.IntN(3) == 0)
	case 19:
		j := d.job(s, func(j *Job) bool { return j.Active() && j.Generation > 1 })
		return wentOn(j.ID, d.generation(j), d.IntN(30))
	}
	if id := d.of("c1", "c2", "c3"); d.IntN(2) == 0 {
		return with(member(id), func(c *SetMember) { c.Member.Alive, c.Member.Version = true, d.of("1", "2") })
	} else {
		return &RemoveMember{id, "asked for"}
	}
}

func (d draw) plan(s *State, j *Job) Body {
	all := []string{"t1", "t2", "t3", "t4"}
	d.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	p := plan(j.ID, d.generation(j)+1, all[:1+d.IntN(3)]...)
	for w, name := range p.Plan.Nodes {
		if n := s.Node(name); n != nil {
			p.Sessions[w] = n.Info.Session
		}
	}
	p.Kind, p.Step, p.Passed = d.of("cpu-avx2", "cpu-avx2", "cpu-neon"), d.IntN(30), d.of("", "a", "b")
	return p
}

func (d draw) report(j *Job) Body {
	w, name := d.IntN(2), d.node()
	if w < len(j.Plan.Nodes) && d.IntN(8) != 0 {
		name = j.Plan.Nodes[w]
	}
	return report(j.ID, name, w, d.generation(j), d.of(api.Succeeded, api.Succeeded, api.Failed, api.Cancelled))
}

// follows says which states may come after each in one command.
var follows = map[string][]string{
	"":             {api.Pending},
	api.Pending:    {api.Pending, api.Starting, api.Cancelled, api.Failed},
	api.Starting:   {api.Starting, api.Running, api.Pending, api.Cancelling, api.Succeeded, api.Failed, api.Cancelled},
	api.Running:    {api.Running, api.Starting, api.Pending, api.Cancelling, api.Succeeded, api.Failed, api.Cancelled},
	api.Cancelling: {api.Cancelling, api.Succeeded, api.Failed, api.Cancelled},
	api.Succeeded:  {api.Succeeded},
	api.Failed:     {api.Failed, api.Pending},
	api.Cancelled:  {api.Cancelled, api.Pending},
}

// TestReplicas applies random commands to two replicas, one of which is restored
// from its snapshot every now and then: replies and snapshots are the same bytes,
// and what the package promises holds after each command.
func TestReplicas(t *testing.T) {
	reached := map[string]int{}
	for seed := range uint64(14) {
		d := draw{rand.New(rand.NewPCG(seed, 1))}
		a, b := newMachine(t), newMachine(t)
		var kept *State
		var keptBytes []byte
		for step := range 250 {
			if d.IntN(25) == 0 {
				b.restart()
			}
			before := a.state()
			body := d.command(before)
			index := before.Index() + 1 + d.Uint64N(3) // Raft has entries of its own between them
			raw := encoded(t, Command{at(index), body})
			// A copy for the simulation: it must not matter who read the command.
			c, err := Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			tried, simulated := before.next(index, c, false)
			was := bytesOf(t, before)
			ra, rb := a.log(index, raw), b.log(index, raw)

			where := fmt.Sprintf("seed %d, command %d (%s)", seed, step, raw)
			if x, y := fmt.Sprint(ra.Err, ra.Existing, dump(t, ra)), fmt.Sprint(rb.Err, rb.Existing, dump(t, rb)); x != y {
				t.Fatalf("%s: the replies differ %s", where, differ(x, y))
			}
			if x, y := bytesOf(t, a.state()), bytesOf(t, b.state()); !bytes.Equal(x, y) {
				t.Fatalf("%s: the replicas differ %s", where, differ(string(x), string(y)))
			}
			if now := bytesOf(t, before); !bytes.Equal(was, now) {
				t.Fatalf("%s: the state before has changed %s", where, differ(string(was), string(now)))
			}
			if x, y := unindexed(t, tried, false), unindexed(t, a.state(), false); x != y || fmt.Sprint(simulated.Err, simulated.Existing) != fmt.Sprint(ra.Err, ra.Existing) {
				t.Fatalf("%s: a simulation differs %s", where, differ(x, y))
			}
			if ra.Err != nil || ra.Existing {
				if x, y := unindexed(t, before, true), unindexed(t, a.state(), true); x != y {
					t.Fatalf("%s: refused or done before, and yet it changes something %s", where, differ(x, y))
				}
			} else {
				reached[body.kind()]++
				if ra.Job != nil {
					reached[ra.Job.State]++
				}
			}
			if why := broken(before, a.state(), index); why != "" {
				t.Fatalf("%s: %s", where, why)
			}
			if kept == nil && step == 100 {
				kept, keptBytes = a.state(), bytesOf(t, a.state())
			}
		}
		if now := bytesOf(t, kept); !bytes.Equal(now, keptBytes) {
			t.Fatalf("seed %d: an old state has changed %s", seed, differ(string(keptBytes), string(now)))
		}
	}
	// What never happened was not tested.
	want := []string{api.Pending, api.Starting, api.Running, api.Cancelling, api.Succeeded, api.Failed, api.Cancelled}
	for _, b := range bodies() {
		want = append(want, b.kind())
	}
	for _, w := range want {
		if reached[w] < 5 {
			t.Errorf("%q was reached %d times", w, reached[w])
		}
	}
}

func dump(t *testing.T, r Reply) string {
	s := Empty()
	if r.Job != nil {
		s.jobs[r.Job.ID] = r.Job
	}
	if r.Node != nil {
		s.nodes[r.Node.Info.Name] = r.Node
	}
	return string(bytesOf(t, s))
}

// broken returns which promise a state does not keep after the one before.
func broken(before, s *State, index uint64) string {
	if s.Index() != index {
		return fmt.Sprintf("the state is at %d", s.Index())
	}
	holder := map[string]string{}
	for _, j := range s.Jobs() {
		old := before.Job(j.ID)
		if old == nil {
			old = &Job{}
		}
		switch {
		case !slices.Contains(follows[old.State], j.State):
			return fmt.Sprintf("job %s went from %q to %q", j.ID, old.State, j.State)
		case j.Generation != old.Generation && j.Generation != old.Generation+1:
			return fmt.Sprintf("job %s went from generation %d to %d", j.ID, old.Generation, j.Generation)
		case j.Generation > old.Generation && j.State != api.Starting:
			return fmt.Sprintf("job %s is %s at the start of a generation", j.ID, j.State)
		case j.Step < old.Step:
			return fmt.Sprintf("job %s went back from step %d to %d", j.ID, old.Step, j.Step)
		case j.Over() == j.Ended.IsZero() || j.Over() == (j.EndOrder == 0):
			return fmt.Sprintf("job %s is %s and ended at %v, entry %d", j.ID, j.State, j.Ended, j.EndOrder)
		case j.State == api.Pending && (len(j.Plan.Nodes) > 0 || len(j.Reports) > 0):
			return fmt.Sprintf("job %s waits with the plan %v and %d reports", j.ID, j.Plan.Nodes, len(j.Reports))
		case (j.State == api.Succeeded) != (j.Result != nil):
			return fmt.Sprintf("job %s is %s, result %v", j.ID, j.State, j.Result)
		case j.Reason == "":
			return fmt.Sprintf("job %s is %s for no reason", j.ID, j.State)
		}
		for _, r := range j.Reports {
			if r.Report.Generation != j.Generation || j.Plan.Worker(r.Report.Node) != r.Report.Worker {
				return fmt.Sprintf("job %s has a report of generation %d, worker %d on %s", j.ID, r.Report.Generation, r.Report.Worker, r.Report.Node)
			}
		}
		if why := grown(old.History, j.History, index); why != "" {
			return "history of job " + j.ID + ": " + why
		}
		if !j.Active() {
			continue
		}
		if j.Chief != j.Plan.Nodes[0] || j.Widest < len(j.Plan.Nodes) {
			return fmt.Sprintf("job %s on %v has the chief %s and was at most on %d nodes", j.ID, j.Plan.Nodes, j.Chief, j.Widest)
		}
		for w, n := range j.Plan.Nodes {
			if holder[n] != "" {
				return fmt.Sprintf("node %s works for the jobs %s and %s", n, holder[n], j.ID)
			}
			holder[n] = j.ID
			if s.Node(n) == nil {
				return fmt.Sprintf("node %s of job %s is forgotten", n, j.ID)
			}
			if why := wrongWork(s, j, w); why != "" {
				return why
			}
		}
	}
	for _, j := range before.Jobs() {
		if s.Job(j.ID) == nil {
			return "job " + j.ID + " is forgotten"
		}
	}
	if why := grown(before.History(), s.History(), index); why != "" {
		return "history: " + why
	}
	// What is derived is what a replica that reads the jobs derives.
	if !reflect.DeepEqual(holder, s.busy) {
		return fmt.Sprintf("held are %v, the state says %v", holder, s.busy)
	}
	open := len(s.Pending()) + len(s.Active())
	if open != s.open {
		return fmt.Sprintf("%d jobs are open, the state says %d", open, s.open)
	}
	return ""
}

// wrongWork checks what a worker's node is told.
func wrongWork(s *State, j *Job, w int) string {
	n := s.Node(j.Plan.Nodes[w])
	got := s.Assignments(n.Info.Name, n.Info.Session)
	want := n.Info.Session == j.Sessions[w] && j.Report(w) == nil
	if want != (len(got) == 1) {
		return fmt.Sprintf("node %s in session %s has %d assignments", n.Info.Name, n.Info.Session, len(got))
	}
	if want && (got[0].Job != j.ID || got[0].Generation != j.Generation || got[0].Worker != w || got[0].Cancel != (j.State == api.Cancelling)) {
		return fmt.Sprintf("node %s is told %+v", n.Info.Name, got[0])
	}
	return ""
}

// grown checks that a history below its limit was only appended to, by the command
// at index, and that every new entry says what and why.
func grown(old, now []api.Decision, index uint64) string {
	if len(now) < len(old) || !slices.Equal(old, now[:len(old)]) {
		return fmt.Sprintf("%d decisions have become other %d", len(old), len(now))
	}
	for _, e := range now[len(old):] {
		if e.Index != index || !e.At.Equal(at(index)) || e.Action == "" || e.Reason == "" {
			return fmt.Sprintf("a decision without index, time, action or reason: %+v", e)
		}
	}
	return ""
}

// TestNudges names exactly the nodes whose assignments differ.
func TestNudges(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []Body
		body   Body
		want   []string
	}{
		{"nothing", running(), drain("t1", true), nil},
		{"a plan", looked(), plan("a", 1, "t2", "t1"), []string{"t1", "t2"}},
		{"another plan", running(), plan("a", 2, "t2", "t3"), []string{"t1", "t2", "t3"}},
		{"running", starting(), started("a", 1), nil},
		{"cancelling", running(), cancel("a"), []string{"t1", "t2"}},
		{"an end", running(), finish("a", 1, api.Failed), []string{"t1", "t2"}},
		{"no plan any more", running(), unplan("a", 1, 0), []string{"t1", "t2"}},
	} {
		m := newMachine(t)
		m.do(c.before...)
		before := m.state()
		m.do(c.body)
		if got := Nudges(before, m.state()); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
