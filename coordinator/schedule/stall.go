package schedule

import (
	"fmt"
	"slices"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// How many times the longest quiet that a job has had in its phase it may be quiet
// before it shows as stalled, and before it counts as failed.
const (
	stallFactor = 3
	limitFactor = 10
)

// stall is how long a job has not got on: nothing began or ended in any of its
// workers.
type stall struct {
	quiet, longest time.Duration
	busy           []int    // workers that do something, for which the others wait
	doing          []string // by busy worker
	step           int
}

// stallOf returns how long an active job has been quiet; zero where it is not in a
// phase that consists of many parts, or a worker has not been heard of.
func stallOf(j *state.Job, v View) stall {
	s := stall{}
	if j.State != api.Running || len(j.Reports) > 0 {
		return stall{}
	}
	for w, node := range j.Plan.Nodes {
		t, p := v.paced(node, j.Sessions[w], j.ID, j.Generation)
		if t == nil || t.State != api.Running || !slices.Contains([]string{"calibrate", "evaluate", "train"}, t.Phase) {
			return stall{}
		}
		if w == 0 {
			s.quiet = p.Quiet
		}
		s.quiet, s.longest, s.step = min(s.quiet, p.Quiet), max(s.longest, p.Longest), max(s.step, t.Step)
		if t.Doing != "" {
			s.busy, s.doing = append(s.busy, w), append(s.doing, t.Doing)
		}
	}
	return s
}

// shows reports whether the job is to be shown as stalled.
func (s stall) shows(c Config) bool { return s.quiet >= max(c.StallAfter, stallFactor*s.longest) }

// over reports whether the job is to be helped.
func (s stall) over(c Config) bool {
	return c.StallLimit > 0 && s.quiet >= max(c.StallLimit, limitFactor*s.longest)
}

// words says what keeps the job.
func (s stall) words(j *state.Job) string {
	text := fmt.Sprintf("nothing has moved for %s after step %d, the longest before was %s: ", seconds(s.quiet), s.step, seconds(s.longest))
	if len(s.busy) == 0 {
		return text + "every worker waits for another"
	}
	var who []string
	for i, w := range s.busy {
		who = append(who, fmt.Sprintf("node %s is at %q", j.Plan.Nodes[w], s.doing[i]))
	}
	text += list(who)
	if len(s.busy) < len(j.Plan.Nodes) {
		text += ", the others wait"
	}
	return text
}

// hung gives a job that has stalled for too long another generation, without the
// workers for which the others wait. Where nobody else is left, or no plan is without
// them, waiting on costs nothing.
func (d *decider) hung(j *state.Job) bool {
	s := stallOf(j, d.Leases)
	if !s.over(d.Config) {
		return false
	}
	f, ok := d.findAgain(j, s.busy)
	if !ok || f.err != nil {
		return false
	}
	return d.do(f.command(j, d.step(j), "the job has stalled: "+s.words(j)+"; goes on "+f.reason, "")) == nil
}
