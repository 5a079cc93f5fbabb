package schedule

import (
	"errors"
	"fmt"
	"slices"

	"ressa/coordinator/state"
	"ressa/shard"
)

// errBudget is returned when this decision may ask the planner no more.
var errBudget = errors.New("waits to be planned")

// found is a plan for a job, or why there is none.
type found struct {
	planned  shard.Planned
	kind     string
	devices  []string // by worker
	sessions []string // by worker
	offer    *offer   // that it was chosen from
	reason   string   // in words: where it runs and who was left out
	err      error
	few      bool // the error is that there are too few nodes to ask the planner
}

// command is the proposal of the plan.
func (f found) command(j *state.Job, step int, reason, passed string) *state.Plan {
	return &state.Plan{
		Job: j.ID, Generation: j.Generation + 1, Plan: f.planned.Plan, Kind: f.kind, Devices: f.devices, Sessions: f.sessions,
		Explanation: f.planned.Explanation, StepSeconds: f.planned.StepSeconds, Step: step, Passed: passed, Reason: reason,
	}
}

// wants is how many nodes and replicas a plan must have.
type wants struct{ nodes, vision, language int }

// least is how many nodes there must be for it.
func (w wants) least() int { return max(1, w.nodes, w.vision, w.language) }

// wanted returns what a job asks for, and what it takes in its place: one that has
// run before goes on with who is left.
func wanted(j *state.Job, there int) []wants {
	asked := wants{j.Request.Nodes, j.Request.VisionReplicas, j.Request.LanguageReplicas}
	if j.Generation == 0 || asked == (wants{}) {
		return []wants{asked}
	}
	fewer := wants{min(asked.nodes, there), min(asked.vision, there), min(asked.language, there)}
	return slices.Compact([]wants{asked, fewer, {}})
}

// find looks for a plan on the nodes of a pool, of which the job holds and prefers
// its own. Groups are tried from the fastest on.
func (d *decider) find(j *state.Job, p *pool, own map[string]bool) found {
	none := found{err: errors.New("no node is free"), few: true}
	groups := p.of(j)
	if len(groups) == 0 && len(p.nodes) > 0 {
		what := "of a numeric kind"
		if j.Inspection.Compute != "" {
			what = "that computes in " + j.Inspection.Compute + " (train.compute)"
		}
		if j.Inspection.Strict && j.Kind != "" {
			what = "of " + j.Kind + ", on which this strict job began"
		}
		none.err = fmt.Errorf("no device %s is on %s", what, names(p.nodes))
	}
	for i, g := range groups {
		for k, w := range wanted(j, len(g.nodes)) {
			f := d.try(j, g, w, own)
			if f.err == nil {
				f.reason += leftOut(g, p)
				return f
			}
			if errors.Is(f.err, errBudget) {
				return f
			}
			// What the first group lacks tells most, too few nodes tell least.
			if i == 0 && k == 0 || none.few && !f.few {
				none = f
			}
		}
	}
	return none
}

// try asks the planner for a plan on one group. A plan of a given size that the
// job's own nodes cannot fill is offered no more others than it lacks, so that
// nobody who holds the job's state is left out for a faster node.
func (d *decider) try(j *state.Job, g *group, w wants, own map[string]bool) found {
	if len(g.nodes) < w.least() {
		of := "of one numeric kind, the most there are is " + plural(len(g.nodes), "node") + " of " + g.kind
		if g.kind == mixed {
			of = "and finds " + plural(len(g.nodes), "node")
		}
		return found{few: true, err: fmt.Errorf("it needs %s %s", plural(w.least(), "node"), of)}
	}
	most := max(d.Config.MaxCandidates, w.least())
	if len(own) > 0 && w.nodes > 0 {
		most = max(w.nodes, len(own))
	}
	chief := chiefOf(j, g)
	f := found{kind: g.kind, offer: g.offer(most, chief, own)}
	f.planned, f.err = d.ask(j, chief, g.kind, w, f.offer)
	if f.err != nil {
		return f
	}
	kinds := map[string]bool{}
	for _, name := range f.planned.Plan.Nodes {
		n := f.offer.node(name)
		if n == nil {
			return found{err: fmt.Errorf("the planner chose node %q, which it was not offered", name)}
		}
		f.devices, f.sessions = append(f.devices, n.device), append(f.sessions, n.Info.Session)
		f.kind, kinds[n.kind] = n.kind, true
	}
	if len(kinds) > 1 {
		f.kind = mixed
	}
	f.reason = fmt.Sprintf("on %s (%s)", list(f.planned.Plan.Nodes), f.kind)
	return f
}

// chiefOf returns the node of a group that should keep the job's run: who did, else
// who has its newest checkpoint.
func chiefOf(j *state.Job, g *group) string {
	for _, name := range append([]string{j.Chief}, j.Checkpoint().Nodes...) {
		if slices.ContainsFunc(g.nodes, func(n offered) bool { return n.Info.Name == name }) {
			return name
		}
	}
	return j.Chief
}

// ask asks the planner, or what is remembered of it.
func (d *decider) ask(j *state.Job, chief, kind string, w wants, o *offer) (shard.Planned, error) {
	q := question{j.Inspection, w, chief, kind, o.sum, len(o.asked)}
	if a, ok := d.Memo.get(q); ok {
		return a.planned, a.err
	}
	if d.plans >= d.Config.MaxPlans {
		d.out.Again = true
		return shard.Planned{}, errBudget
	}
	d.plans++
	in := j.Inspection
	planned, err := d.Plan(shard.Request{
		Profile: in.Profile, Nodes: slices.Clone(o.asked), Microbatches: in.Microbatches, Wire: in.Wire, Chief: chief,
		Want: w.nodes, VisionReplicas: w.vision, LanguageReplicas: w.language,
	})
	if err == nil {
		if err = planned.Plan.Check(); err != nil {
			err = fmt.Errorf("the planner's answer is no plan: %w", err)
		}
	}
	d.Memo.put(q, answer{planned, err})
	return planned, err
}

// leftOut names the nodes of a pool that are not in the group.
func leftOut(g *group, p *pool) string {
	if len(g.nodes) == len(p.nodes) {
		return ""
	}
	in := make(map[*state.Node]bool, len(g.nodes))
	for _, n := range g.nodes {
		in[n.Node] = true
	}
	var out []string
	for _, n := range p.nodes {
		if in[n] {
			continue
		}
		kind := "no device"
		if dev := n.Device(""); dev != nil {
			kind = dev.Kind
		}
		out = append(out, n.Info.Name+" ("+kind+")")
	}
	if g.kind == mixed {
		return "; left out: " + list(out)
	}
	return "; left out, because a strict job runs on one numeric kind: " + list(out)
}

func names(nodes []*state.Node) string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Info.Name
	}
	return list(out)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
