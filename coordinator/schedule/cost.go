package schedule

import "ressa/coordinator/state"

// wentOn commits what the chief says of where training went on in a generation, once
// all coordinators understand it.
func (d *decider) wentOn(j *state.Job) {
	if d.Understood < 2 || j.Generation < 2 || j.Change(j.Generation) != nil {
		return
	}
	if t := d.Leases.task(j.Plan.Nodes[0], j.Sessions[0], j.ID, j.Generation); t != nil && t.Origin != nil {
		_ = d.do(&state.WentOn{Job: j.ID, Generation: j.Generation, Origin: *t.Origin}) // a chief that says nonsense is not asked again
	}
}
