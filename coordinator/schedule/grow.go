package schedule

import (
	"fmt"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// grow gives a job that runs on fewer nodes than it had or asks for a wider plan
// when nodes are free for it: what was lost is back.
func (d *decider) grow(j *state.Job) {
	now, full := len(j.Plan.Nodes), max(j.Widest, j.Request.Nodes)
	if d.Config.GrowAfter <= 0 || j.State != api.Running || len(j.Reports) > 0 || now >= full || d.elapsed(j.PlannedAt) < d.Config.GrowAfter {
		return
	}
	nodes, own := d.free(), map[string]bool{}
	if len(nodes) == 0 {
		return
	}
	for _, name := range j.Plan.Nodes {
		nodes, own[name] = append(nodes, d.s.Node(name)), true
	}
	f := d.find(j, newPool(nodes...), own)
	if f.err != nil || len(f.planned.Plan.Nodes) <= now {
		return
	}
	for _, name := range j.Plan.Nodes {
		if f.planned.Plan.Worker(name) < 0 {
			return // a wider plan that drops who holds state is no gain
		}
	}
	// Refused only when the job has had its generations: then it goes on as it is.
	_ = d.do(f.command(j, d.step(j), fmt.Sprintf("grows from %s to %d: runs %s", plural(now, "node"), len(f.planned.Plan.Nodes), f.reason), ""))
}
