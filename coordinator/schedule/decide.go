package schedule

import (
	"time"

	"ressa/coordinator/state"
	"ressa/shard"
)

// PlanFunc chooses a plan: shard.MakePlan, or what stands for it.
type PlanFunc func(shard.Request) (shard.Planned, error)

// Input is what a decision is made from.
type Input struct {
	Config Config
	State  *state.State
	Leases View
	Now    time.Time
	// Understood is the version of commands that all coordinators understand; 0 is 1.
	Understood int
	Plan       PlanFunc
	// Memo remembers what the planner answered; nil remembers nothing. It changes no
	// decision, only how soon it comes.
	Memo *Memo
	// Ages remembers when stamps were first seen; without, a wall clock that jumps
	// makes them older or younger.
	Ages *Ages
	// Inspecting are the inspections under way or tried, by job.
	Inspecting map[string]Inspecting
}

// Inspecting is how far the inspection of a job is.
type Inspecting struct {
	Node  string   // that is at it; empty for none
	Tried []string // nodes that did not answer
}

// Output is what to do.
type Output struct {
	// Commands are to be proposed in this order. Each was tried on the state after
	// those before it; where one is refused the rest may be as well, and the next
	// decision mends it.
	Commands []state.Command
	// Inspect are jobs to be inspected; the answers are proposed as state.Inspected.
	Inspect []Order
	// Waiting is why each pending job waits, as of now; the state has the reason of
	// the last change of its code.
	Waiting map[string]string
	// Again asks for the next decision at once: this one came to the end of what it
	// may ask the planner.
	Again bool
}

// Order asks a node to inspect a job.
type Order struct {
	Job  string
	Node string
	Spec string
}

// Decide says what the leader does next. It is to be called whenever the state
// or the leases change, and a few times within each lease in any case.
func Decide(in Input) Output {
	d := &decider{Input: in, s: in.State, out: Output{Waiting: map[string]string{}}}
	d.watchNodes()
	for _, j := range d.s.Active() {
		d.watchJob(j)
	}
	d.inspect()
	d.place()
	return d.out
}

// decider makes one decision: each command is tried on s at once, so that what
// follows builds on it.
type decider struct {
	Input
	s     *state.State
	out   Output
	plans int // asked of the planner
	wait  []state.Waiting
}

// do proposes a command if the state takes it.
func (d *decider) do(b state.Body) error {
	c := state.Command{At: d.Now, Body: b}
	s, r := d.s.Simulate(c)
	if r.Err != nil {
		return r.Err
	}
	if !r.Existing {
		d.s = s
		d.out.Commands = append(d.out.Commands, c)
	}
	return nil
}

// elapsed returns how long ago something was committed. The clock that stamped it
// may have been another leader's: one that is ahead of ours counts from when we
// began to listen.
func (d *decider) elapsed(at time.Time) time.Duration {
	e := d.Now.Sub(at)
	if e < 0 {
		e = d.Leases.Since
	}
	return d.Ages.of(at, d.Leases.Since, e)
}

// lease returns the lease of a node's present session. Before its first beat to
// this leader the node counts as silent since it registered.
func (d *decider) lease(n *state.Node) (l Lease, heard bool) {
	l = d.Leases.Of(n.Info.Name)
	if l.Session == n.Info.Session {
		return l, true
	}
	return Lease{Session: n.Info.Session, Silent: min(d.Leases.Since, d.elapsed(n.Since))}, false
}
