package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// checkStep verifies what one entry has made of the state.
func (c *cluster) checkStep(before, s *state.State, body state.Body) {
	holders := map[string]string{}
	names := map[string]string{}
	for _, j := range s.Jobs() {
		if other := names[j.Name]; other != "" {
			c.violate("one submission became the jobs %s and %s", other, j.ID)
		}
		names[j.Name] = j.ID
		old := before.Job(j.ID)
		if old == nil {
			old = &state.Job{}
		}
		if j == old {
			for _, n := range held(j) {
				holders[n] = j.ID
			}
			continue
		}
		if j.State != old.State {
			c.say("job %s is %s: %s", j.ID, j.State, j.Reason)
		} else if j.Generation != old.Generation {
			c.say("job %s generation %d: %s", j.ID, j.Generation, j.Reason)
		}
		c.checkJob(old, j, body)
		for _, n := range held(j) {
			if other := holders[n]; other != "" {
				c.violate("node %s works for the jobs %s and %s", n, other, j.ID)
			}
			holders[n] = j.ID
		}
	}
	for _, j := range before.Jobs() {
		if s.Job(j.ID) == nil {
			c.violate("job %s is lost", j.ID)
		}
	}
	for _, n := range s.Nodes() {
		if old := before.Node(n.Info.Name); old != n && (old == nil || old.State != n.State || old.Info.Session != n.Info.Session || old.Draining != n.Draining) {
			c.say("node %s is %s: %s", n.Info.Name, n.Shown(), n.Reason)
			if n.State != api.NodeLost {
				delete(c.lost, n.Info.Name)
			}
		}
	}
}

func held(j *state.Job) []string {
	if j.Active() {
		return j.Plan.Nodes
	}
	return nil
}

// checkJob verifies how one job has changed.
func (c *cluster) checkJob(old, j *state.Job, body state.Body) {
	_, resumed := body.(*state.Resume)
	switch {
	case j.Generation < old.Generation || j.Generation > old.Generation+1:
		c.violate("job %s goes from generation %d to %d", j.ID, old.Generation, j.Generation)
	case old.State == api.Succeeded && (j.State != api.Succeeded || j.Result.AdapterSHA256 != old.Result.AdapterSHA256):
		c.violate("job %s had succeeded and is %s", j.ID, j.State)
	case old.Over() && !j.Over() && !resumed:
		c.violate("job %s was %s and is %s, though nobody has resumed it", j.ID, old.State, j.State)
	case old.State == api.Cancelling && !j.Over() && j.State != api.Cancelling:
		c.violate("job %s was cancelled and is %s", j.ID, j.State)
	case j.Step < old.Step:
		c.violate("job %s goes back from step %d to %d", j.ID, old.Step, j.Step)
	}
	if j.State == api.Succeeded && old.State != api.Succeeded {
		c.count("jobs that succeeded", 1)
		if want := c.users.result(j.Name); j.Result.AdapterSHA256 != want {
			c.violate("job %s succeeds with %s, want %s", j.ID, j.Result.AdapterSHA256, want)
		}
	}
	if j.State == api.Failed && old.State != api.Failed {
		c.count("jobs that failed", 1)
		// Workers of this simulation name no cause of their own.
		if !c.users.job(j.Name).Bad && !strings.Contains(j.Reason, "generations in a row") {
			c.violate("job %s fails: %s", j.ID, j.Reason)
		}
	}
	if len(j.Plan.Nodes) > 0 && !j.Over() {
		key, plan := fmt.Sprint(j.ID, " ", j.Generation), fmt.Sprint(j.Plan, j.Sessions)
		if known, ok := c.plans[key]; !ok {
			c.plans[key] = plan
			c.count("generations", 1)
		} else if known != plan {
			c.violate("generation %d of job %s has two plans: %s and %s", j.Generation, j.ID, known, plan)
		}
	}
	for _, r := range j.Reports {
		if !c.issued[reportKey(j.ID, r.Report)] {
			c.violate("job %s has a report that no worker made in generation %d: %+v", j.ID, j.Generation, r.Report)
		}
	}
	if p := j.Checkpoint(); len(j.Checkpoints) > 0 && !c.issued[publishKey(j.ID, p)] {
		c.violate("job %s has a checkpoint that no worker published: %+v", j.ID, p)
	}
	if b, ok := body.(*state.Publish); ok && b.Job == j.ID {
		c.count("checkpoints", 1)
		if b.Published.Generation != j.Generation || !j.Active() {
			c.violate("job %s, %s in generation %d, takes a checkpoint of generation %d", j.ID, j.State, j.Generation, b.Published.Generation)
		}
	}
}

func reportKey(job string, r api.Report) string {
	return fmt.Sprintf("report %s %d %d %s %s %s", job, r.Generation, r.Worker, r.Node, r.State, r.Error)
}

func publishKey(job string, p api.Published) string {
	return fmt.Sprintf("checkpoint %s %d %d %s %v", job, p.Generation, p.Step, p.SHA256, p.Nodes)
}

// checkLost verifies, where a leader takes a node for lost, that it has not heard it
// for long enough, by the clock that nobody can set. It is called by the leader.
func (m *member) checkLost(set *state.SetNode) {
	at := m.c.now()
	m.c.mu.Lock()
	from, heard := m.heard[set.Name+" "+set.Session]
	m.c.mu.Unlock()
	from = max(from, m.since)
	silent, stood := at-from, time.Duration(0)
	for _, p := range m.pauses {
		to := p.to
		if to < 0 {
			to = at
		}
		if d := min(to, at) - max(p.from, from); d > 0 {
			silent, stood = silent-d, stood+1
		}
	}
	least := lease
	if strings.Contains(set.Reason, "peers report") {
		least = min(least, max(m.c.config.BrokenWait, lease*2/3))
	}
	least -= stood * lease / 2 // shorter pauses than that are not noticed
	if silent < least {
		m.c.post(m.name+" wrongs "+set.Name, func() {
			m.c.violate("%s, which leads since %v, takes node %s for lost after %v (heard: %v): %s", m.name, m.since, set.Name, silent, heard, set.Reason)
		})
	}
}

// checkWell verifies that a node is not lost to a leader that it could reach all the
// time, also where another coordinator stands still.
func (m *member) checkWell(set *state.SetNode) {
	at := m.c.now()
	calm := at - 2*lease
	n := m.c.node(set.Name)
	if n.info.Session != set.Session || !n.registered || !n.well(calm) || !m.well(calm) || !m.c.network.usual(calm) {
		return
	}
	others := 0
	for _, x := range m.c.members {
		if x != m && !x.well(calm) {
			others++
		}
	}
	if others <= 1 {
		m.c.post(m.name+" loses "+set.Name, func() {
			m.c.violate("%s takes node %s for lost, which has been well and could reach it: %s", m.name, set.Name, set.Reason)
		})
	}
}

// checkBack verifies that a node that was lost is back for a beat.
func (m *member) checkBack(set *state.SetNode) {
	m.c.mu.Lock()
	heard, ok := m.heard[set.Name+" "+set.Session]
	lost := m.c.lost[set.Name]
	m.c.mu.Unlock()
	if !ok || heard < lost {
		m.c.post(m.name+" returns "+set.Name, func() {
			m.c.violate("%s takes node %s back, lost at %v, heard at %v", m.name, set.Name, lost, heard)
		})
	}
}

// checkEnd verifies what has to hold once everything is healed and has come to rest.
func (c *cluster) checkEnd() {
	for _, m := range c.members {
		s := m.fsm.State()
		if s.Index() != c.latest.Index() {
			c.violate("%s is at entry %d, others at %d", m.name, s.Index(), c.latest.Index())
		}
		c.checkSum(m, s)
	}
	c.users.check(c.latest)
}

// idle reports whether every job is over and every member knows it.
func (c *cluster) idle() bool {
	if len(c.users.asked) > 0 {
		return false
	}
	for _, m := range c.members {
		if s := m.fsm.State(); s.Index() != c.latest.Index() || slices.ContainsFunc(s.Jobs(), func(j *state.Job) bool { return !j.Over() }) {
			return false
		}
	}
	return true
}
