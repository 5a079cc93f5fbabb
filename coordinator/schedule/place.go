package schedule

import (
	"errors"
	"fmt"
	"slices"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
	"ressa/shard"
)

// ready returns the nodes that take new jobs, now or later, by name.
func (d *decider) ready() []*state.Node {
	return slices.DeleteFunc(d.s.Nodes(), func(n *state.Node) bool { return n.Shown() != api.NodeReady || d.unfit(n) != "" })
}

// free returns those of them that could take a job now.
func (d *decider) free() []*state.Node {
	return slices.DeleteFunc(d.ready(), func(n *state.Node) bool { return d.occupied(n) != "" })
}

// place goes through the queue. A job that has to wait for busy nodes is passed
// by those behind it that fit what is free, but only so often: then its nodes are
// kept for it.
func (d *decider) place() {
	p := &placing{decider: d, ready: newPool(d.ready()...)}
	p.setFree(d.free())
	for _, j := range d.s.Pending() {
		if j.Inspection == nil {
			continue // see inspect
		}
		if code, why := p.job(j); why != "" {
			d.waits(j, code, why)
		}
	}
	if len(d.wait) > 0 {
		_ = d.do(&state.Wait{Jobs: d.wait}) // jobs that do not wait any more are skipped
	}
}

// waits notes why a job waits; the state is told when that is something new. An
// empty code is for what passes within a few decisions.
func (d *decider) waits(j *state.Job, code, reason string) {
	d.out.Waiting[j.ID] = reason
	if code != "" && code != j.Wait {
		d.wait = append(d.wait, state.Waiting{Job: j.ID, Code: code, Reason: reason})
	}
}

// placing is one walk through the queue.
type placing struct {
	*decider
	ready *pool // nodes that take jobs, free or not
	free  *pool
	open  *pool // free without those that are kept
	busy  string
	// first is the first job that waits for busy nodes, within are the nodes that it
	// would be placed on.
	first  *state.Job
	within *offer
}

// setFree takes in which nodes are free after a job was placed.
func (p *placing) setFree(nodes []*state.Node) {
	p.free, p.busy = newPool(nodes...), ""
	p.keep()
}

// keep keeps nodes for the first job that waits once it has been passed too often.
func (p *placing) keep() {
	p.open = p.free
	if p.first != nil && p.first.Passed >= p.Config.MaxPassed {
		p.open = newPool(slices.DeleteFunc(slices.Clone(p.free.nodes), func(n *state.Node) bool { return p.within.node(n.Info.Name) != nil })...)
	}
}

// job places one job, or returns the code and the reason of why it waits.
func (p *placing) job(j *state.Job) (code, why string) {
	now := p.find(j, p.open, stored(j))
	switch {
	case now.err == nil:
		return p.start(j, now)
	case errors.Is(now.err, errBudget):
		return "", errBudget.Error()
	case errors.Is(now.err, shard.ErrProfile):
		p.fail(j, api.ExitInvalid, "", "it cannot be placed: "+now.err.Error())
		return "", ""
	case len(p.ready.nodes) == 0:
		return state.NoNodes, fmt.Sprintf("no node takes jobs: %s%s", plural(len(p.s.Nodes()), "known node"), p.spared())
	}
	// It does not fit what is free: would it, if all were?
	ever := p.find(j, p.ready, nil)
	switch {
	case errors.Is(ever.err, errBudget):
		return "", errBudget.Error()
	case ever.err != nil && ever.few:
		return state.TooFew, ever.err.Error() + ", free or not" + p.spared()
	case ever.err != nil:
		return p.tooSmall(j, ever.err)
	}
	if p.first == nil {
		p.first, p.within = j, ever.offer
		p.keep()
	} else if p.open != p.free && p.find(j, p.free, nil).err == nil {
		return state.Reserved, fmt.Sprintf("free nodes are kept for job %s, which %d later jobs have passed", p.first.ID, p.first.Passed)
	}
	if len(p.free.nodes) == 0 {
		return state.Busy, "waits for a free node: " + p.occupants()
	}
	return state.Busy, fmt.Sprintf("%v; %s", now.err, p.occupants())
}

// stored are the nodes that have the newest checkpoint of a job.
func stored(j *state.Job) map[string]bool {
	out := map[string]bool{}
	for _, name := range j.Checkpoint().Nodes {
		out[name] = true
	}
	return out
}

// start proposes a plan for a job that waited.
func (p *placing) start(j *state.Job, f found) (code, why string) {
	passed, reason := "", "runs "+f.reason
	if j.Generation > 0 {
		reason = "goes on " + f.reason
	}
	if p.first != nil && slices.ContainsFunc(f.planned.Plan.Nodes, func(n string) bool { return p.within.node(n) != nil }) {
		passed = p.first.ID
		reason += fmt.Sprintf("; passes job %s, which waits for more than is free", passed)
	}
	err := p.do(f.command(j, j.Step, reason, passed))
	if errors.Is(err, state.ErrStalled) {
		p.fail(j, api.ExitFailed, "", fmt.Sprintf("%d generations in a row ended without progress", j.Stalled))
		return "", ""
	}
	if err != nil {
		return "", err.Error()
	}
	if passed != "" {
		p.first = p.s.Job(passed)
	}
	p.setFree(slices.DeleteFunc(slices.Clone(p.free.nodes), func(n *state.Node) bool { return f.planned.Plan.Worker(n.Info.Name) >= 0 }))
	return "", ""
}

// tooSmall ends a job that has not fitted the cluster for long enough, unless it has
// fitted before: then nodes are away that may come back.
func (p *placing) tooSmall(j *state.Job, err error) (code, why string) {
	why = fmt.Sprintf("it does not fit the %s that take jobs: %v%s", plural(len(p.ready.nodes), "node"), err, p.spared())
	if j.Wait == state.DoesNotFit && !j.Placeable && p.elapsed(j.WaitSince) >= p.Config.PlaceWait {
		p.fail(j, api.ExitInvalid, "", why)
		return "", ""
	}
	return state.DoesNotFit, why
}

// occupants says why the nodes that are not free are not.
func (p *placing) occupants() string {
	if p.busy != "" {
		return p.busy
	}
	const most = 4
	var texts []string
	more := 0
	for _, n := range p.ready.nodes {
		switch why := p.occupied(n); {
		case why == "":
		case len(texts) < most:
			texts = append(texts, why)
		default:
			more++
		}
	}
	p.busy = list(texts)
	if more > 0 {
		p.busy += fmt.Sprintf(" and %d more", more)
	}
	return p.busy
}
