package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// watchJob decides how an active job goes on. The order is that of what counts
// more: a result that is there, a cause that a worker names, a node that is gone,
// and last what workers only know as a broken exchange.
func (d *decider) watchJob(j *state.Job) {
	d.wentOn(j)
	if d.succeeded(j) {
		return
	}
	if j.State == api.Cancelling {
		d.cancel(j)
		return
	}
	if d.failed(j) {
		return
	}
	if lost := d.lost(j); len(lost) > 0 {
		d.replan(j, strings.Join(lost, "; "))
		return
	}
	if d.broken(j) || d.hung(j) {
		return
	}
	if j.State == api.Starting {
		d.started(j)
	}
	d.grow(j)
}

// succeeded ends a job whose worker 0 has delivered its result: nothing that
// others report can take it back.
func (d *decider) succeeded(j *state.Job) bool {
	r := j.Report(0)
	if r == nil || r.State != api.Succeeded {
		return false
	}
	reason := fmt.Sprintf("worker 0 on node %s delivered the result", r.Node)
	return d.do(&state.Finish{Job: j.ID, Generation: j.Generation, State: api.Succeeded, Step: d.step(j), Reason: reason}) == nil
}

// failed ends a job at the first report that names a cause of its own.
func (d *decider) failed(j *state.Job) bool {
	for _, got := range j.Reports {
		r := got.Report
		if r.State != api.Failed || len(r.Broken) > 0 || d.sick(j, r.Worker) {
			continue
		}
		d.fail(j, max(r.ExitCode, api.ExitFailed), r.Node, fmt.Sprintf("worker %d on node %s failed: %s", r.Worker, r.Node, orUnknown(r.Error)))
		return true
	}
	return false
}

func orUnknown(s string) string {
	if s == "" {
		return "it gave no reason"
	}
	return s
}

// fail cannot be refused for an active or pending job in its own generation.
func (d *decider) fail(j *state.Job, code int, node, reason string) {
	_ = d.do(&state.Finish{Job: j.ID, Generation: j.Generation, State: api.Failed, ExitCode: code, Step: d.step(j), Node: node, Reason: reason})
}

// lost returns why workers cannot go on whose nodes are gone. Who has reported
// success has nothing left to do.
func (d *decider) lost(j *state.Job) []string {
	var out []string
	for w := range j.Plan.Nodes {
		if r := j.Report(w); r != nil && r.State == api.Succeeded {
			continue
		}
		if why := d.gone(j, w); why != "" {
			out = append(out, why)
		}
	}
	return out
}

// broken looks at reports that name a broken exchange or nothing at all. They are
// consequences: for a while the cause may still turn up, as another report or as
// the end of a lease. A node that peers have lost and that is silent too need not
// be waited for any longer; where all are alive the exchange itself broke and the
// next generation tries again.
func (d *decider) broken(j *state.Job) bool {
	i := slices.IndexFunc(j.Reports, func(r state.Received) bool { return r.Report.State != api.Succeeded })
	if i < 0 {
		return false
	}
	first := j.Reports[i]
	since := d.elapsed(first.At)
	if since < d.Config.BrokenWait {
		return true
	}
	for w := range j.Plan.Nodes {
		n := d.s.Node(j.Plan.Nodes[w])
		l, heard := d.lease(n)
		named := slices.ContainsFunc(j.Reports, func(r state.Received) bool { return slices.Contains(r.Report.Broken, w) })
		switch {
		case !named || j.Report(w) != nil:
		case l.Silent >= max(d.Config.BrokenWait, d.Config.Lease*2/3):
			d.setNode(n, api.NodeLost, fmt.Sprintf("silent for %s, and peers report a broken exchange with it", seconds(l.Silent)))
		case !heard || l.Silent >= since:
			return true // not heard of since: its lease decides
		}
	}
	if lost := d.lost(j); len(lost) > 0 {
		d.replan(j, strings.Join(lost, "; "))
		return true
	}
	r := first.Report
	why := fmt.Sprintf("worker %d on node %s stopped: %s", r.Worker, r.Node, orUnknown(r.Error))
	if len(r.Broken) > 0 && !slices.Equal(r.Broken, []int{r.Worker}) {
		var peers []string
		for _, w := range r.Broken {
			if w >= 0 && w < len(j.Plan.Nodes) {
				peers = append(peers, j.Plan.Nodes[w])
			}
		}
		why = fmt.Sprintf("the exchange of node %s with %s broke though all nodes are alive: %s", r.Node, list(peers), orUnknown(r.Error))
	}
	d.replan(j, why)
	return true
}

// cancel ends a cancelled job when all its workers have stopped or are gone, or
// when they have had time enough.
func (d *decider) cancel(j *state.Job) {
	var missing []string
	for w, node := range j.Plan.Nodes {
		if j.Report(w) == nil && d.gone(j, w) == "" {
			missing = append(missing, node)
		}
	}
	reason := j.Reason
	switch {
	case len(missing) > 0 && d.elapsed(j.Cancelled) < d.Config.CancelWait:
		return
	case len(missing) > 0:
		reason = fmt.Sprintf("%s; not waited for any longer: %s", reason, list(missing))
	}
	_ = d.do(&state.Finish{Job: j.ID, Generation: j.Generation, State: api.Cancelled, ExitCode: api.ExitCancelled, Step: d.step(j), Reason: reason})
}

// started notes the first worker that runs.
func (d *decider) started(j *state.Job) {
	for w, node := range j.Plan.Nodes {
		if t := d.Leases.task(node, j.Sessions[w], j.ID, j.Generation); t != nil && t.State == api.Running {
			_ = d.do(&state.Started{Job: j.ID, Generation: j.Generation, Reason: fmt.Sprintf("worker %d runs on node %s", w, node)})
			return
		}
	}
}

// step returns the highest step that the workers of this generation have told.
func (d *decider) step(j *state.Job) int {
	step := 0
	for w, node := range j.Plan.Nodes {
		if t := d.Leases.task(node, j.Sessions[w], j.ID, j.Generation); t != nil {
			step = max(step, t.Step)
		}
	}
	return step
}

// replan gives a job whose generation cannot go on a new one on who is left and
// who is free, or lets it wait.
func (d *decider) replan(j *state.Job, why string) {
	f, ok := d.findAgain(j, nil)
	if !ok {
		return
	}
	step := d.step(j)
	switch {
	case errors.Is(f.err, errBudget):
	case f.err != nil:
		if d.do(&state.Unplan{Job: j.ID, Generation: j.Generation, Step: step, Reason: why + "; no plan on who is left: " + f.err.Error()}) == nil {
			d.stalled(d.s.Job(j.ID), why)
		}
	case errors.Is(d.do(f.command(j, step, why+"; goes on "+f.reason, "")), state.ErrStalled):
		d.stalled(j, why)
	}
}

// findAgain looks for another plan for a job that has one, on who is left and who is
// free; workers in without are left out. A leader that has just begun to listen hears
// all survivors first, and is not ok before: who is left out of a plan loses what it
// holds.
func (d *decider) findAgain(j *state.Job, without []int) (f found, ok bool) {
	nodes, own := d.free(), map[string]bool{}
	for w, name := range j.Plan.Nodes {
		if slices.Contains(without, w) {
			continue
		}
		n := d.s.Node(name)
		if d.gone(j, w) != "" {
			// A process that was started again in the place of one that is lost holds
			// nothing, but can begin at once.
			if n != nil && n.State == api.NodeReady && !n.Draining && d.unfit(n) == "" {
				if _, heard := d.lease(n); !heard {
					return f, false
				}
				nodes = append(nodes, n)
			}
			continue
		}
		if _, heard := d.lease(n); !heard {
			return f, false
		}
		nodes, own[name] = append(nodes, n), true
	}
	return d.find(j, newPool(nodes...), own), true
}

// stalled ends a job that has had its generations.
func (d *decider) stalled(j *state.Job, why string) {
	if j.State == api.Pending && j.Stalled < state.MaxStalled {
		return
	}
	d.fail(j, api.ExitFailed, "", fmt.Sprintf("%d generations in a row ended without progress, the last one because %s", state.MaxStalled, why))
}
