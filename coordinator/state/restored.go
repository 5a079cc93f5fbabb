package state

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ressa/coordinator/api"
	"ressa/shard"
)

// fence is how many generations a job is moved on that the present state does not
// know: nobody can say any more how many it has had since the snapshot was taken. One
// takes seconds, so that this is days of nothing but failures.
const fence = 100_000

// Restored returns the state that takes the place of now when the snapshot old is
// restored at a time, and the jobs that had a plan and are to be planned again.
//
// Jobs and histories are those of the snapshot; nodes and coordinators are as they
// are now. Nodes may be at work for plans that the snapshot does not know, or not
// yet, and some may not hear of the restored state for long. So no job keeps a plan,
// and each goes on behind every generation that it can have had: a plan that is made
// now has a number that none had before, whoever still works for an older one is
// refused, and what a node has in memory counts only as far as the generation's
// workers agree that it is theirs (docs/cluster.md).
func Restored(old, now *State, at time.Time) (*State, []string) {
	s := *old
	s.index = max(old.index, now.index)
	d := &draft{State: &s, at: at.UTC().Round(0), record: true}
	s.jobs, s.tokens, s.busy, s.open = map[string]*Job{}, map[string]string{}, map[string]string{}, 0
	s.nodes, s.members = maps.Clone(now.nodes), maps.Clone(now.members)
	s.history = slices.Clone(old.history)
	d.decide(nil, "", "restored", fmt.Sprintf("the state as of index %d, in the place of that of index %d", old.index, now.index))
	var again []string
	for _, j := range old.queue(func(*Job) bool { return true }) {
		c := *j
		c.History = slices.Clone(j.History)
		if d.move(&c, now.jobs[j.ID]) {
			again = append(again, j.ID)
		}
		d.put(&c)
	}
	return d.State, again
}

// move takes a job off its plan and behind every generation that it can have had; it
// reports whether the job had a plan and goes on.
func (d *draft) move(j, present *Job) (again bool) {
	had := j.Generation
	switch {
	case j.State == api.Succeeded: // has no more generations
		return false
	case present == nil:
		j.Generation += fence
	case present.Generation > j.Generation:
		j.Generation = present.Generation
	}
	j.Generation++ // a plan that was under way as the present state was looked at
	j.Reports = nil
	why := fmt.Sprintf("a snapshot was restored, with generation %d; what is known to have run since is refused up to generation %d", had, j.Generation)
	switch {
	case j.State == api.Cancelling:
		d.end(j, api.Cancelled, api.ExitCancelled, "", "was being cancelled; "+why)
	case j.Active():
		j.Progress = false
		j.State, j.Stalled, j.Wait, j.WaitSince = api.Pending, 0, "", d.at
		j.Reason = "waits to be planned: " + why
		again = true
		d.decide(j, "", "unplanned", why)
	default:
		return false
	}
	j.Plan, j.Devices, j.Sessions, j.Explanation = shard.Plan{}, nil, nil, nil
	return again
}
