package schedule

import (
	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// Record returns a job as the API shows it: what the state knows, and from the
// beats what its workers are doing. waiting is its reason in [Output.Waiting];
// empty leaves the state's own.
func Record(j *state.Job, v View, c Config, leader, waiting string) api.JobRecord {
	r := j.Record()
	r.Status.Leader = leader
	if j.State == api.Pending && waiting != "" {
		r.Reason = waiting
	}
	if !j.Active() {
		return r
	}
	if s := stallOf(j, v); s.shows(c) {
		r.Status.Stalled = s.words(j)
	}
	rank := 0
	for w, node := range j.Plan.Nodes {
		lease := v.Of(node)
		age := lease.Silent.Seconds()
		r.Status.BeatAge = max(r.Status.BeatAge, age)
		t := v.task(node, j.Sessions[w], j.ID, j.Generation)
		if t != nil {
			r.Status.Step = max(r.Status.Step, t.Step)
			if w == 0 || r.Status.Phase == "" {
				r.Status.Phase = t.Phase
			}
		}
		for i := range j.Plan.Roles(w) {
			x := &r.Status.Ranks[rank]
			rank++
			x.BeatAge = age
			if t == nil {
				continue
			}
			x.PID = t.PID
			if i < len(t.Microbatches) {
				x.Microbatches = t.Microbatches[i]
			}
		}
	}
	return r
}

// NodeRecord returns a node as the API shows it.
func NodeRecord(s *state.State, n *state.Node, v View) api.NodeRecord {
	lease := v.Of(n.Info.Name)
	r := api.NodeRecord{NodeInfo: n.Info, State: n.Shown(), Reason: n.Reason, Draining: n.Draining, Jobs: []string{}, BeatAge: lease.Silent.Seconds(), Reach: lease.Reach}
	if lease.Session == n.Info.Session {
		r.Health = lease.Health
	}
	if why := Unfit(n, lease); why != "" && n.State == api.NodeReady {
		r.State, r.Reason = api.NodeUnfit, why
	}
	if j := s.Holder(n.Info.Name); j != nil {
		r.Jobs = append(r.Jobs, j.ID)
	}
	return r
}
