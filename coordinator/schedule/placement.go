package schedule

import (
	"ressa/coordinator/state"
	"ressa/shard"
)

// Able returns the nodes that could look at a job now, in the order in which they
// are asked.
func Able(in Input) []string {
	d := &decider{Input: in, s: in.State}
	var idle, working []string
	for _, n := range d.ready() {
		if _, heard := d.lease(n); !heard {
			continue
		}
		if d.occupied(n) == "" {
			idle = append(idle, n.Info.Name)
		} else {
			working = append(working, n.Info.Name)
		}
	}
	return append(idle, working...)
}

// Placement returns the plan that an inspected job would get if all nodes that
// take jobs were free, by the rules of [Decide].
func Placement(in Input, j *state.Job) (shard.Planned, error) {
	d := &decider{Input: in, s: in.State}
	f := d.find(j, newPool(d.ready()...), nil)
	return f.planned, f.err
}
