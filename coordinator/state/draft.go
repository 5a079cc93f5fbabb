package state

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"ressa/coordinator/api"
)

// draft is the next state while a command changes it. Maps are copied when they
// are first written, so that the state before stays as it is.
type draft struct {
	*State
	at     time.Time
	record bool // decisions go to the histories
	owned  struct{ jobs, nodes, members bool }
}

// next applies a command. A refused one changes nothing but the index.
func (s *State) next(index uint64, c Command, record bool) (*State, Reply) {
	refused := *s
	refused.index = index
	if err := c.check(); err != nil {
		return &refused, Reply{Index: index, Err: err}
	}
	copied := refused
	d := &draft{State: &copied, at: c.At, record: record}
	r, err := c.Body.apply(d)
	if err != nil {
		return &refused, Reply{Index: index, Err: fmt.Errorf("%s: %w", c.Body.kind(), err)}
	}
	r.Index = index
	return d.State, r
}

// Simulate returns the state after a command as if it came next in the log, but
// for the histories: what package coordinator/schedule tries decisions on.
func (s *State) Simulate(c Command) (*State, Reply) { return s.next(s.index+1, c, false) }

// edit returns a copy of a job to change and to put back.
func (d *draft) edit(id string) (*Job, error) {
	j := d.jobs[id]
	if j == nil {
		return nil, fmt.Errorf("job %q: %w", id, ErrNotFound)
	}
	c := *j
	return &c, nil
}

// put takes a changed or new job in and keeps what is derived from it.
func (d *draft) put(j *Job) Reply {
	if !d.owned.jobs {
		d.owned.jobs = true
		d.jobs, d.tokens, d.busy = maps.Clone(d.jobs), maps.Clone(d.tokens), maps.Clone(d.busy)
	}
	if old := d.jobs[j.ID]; old != nil {
		d.release(old)
	}
	d.jobs[j.ID] = j
	d.hold(j)
	return Reply{Job: j}
}

// release takes out what is derived from a job, hold adds it.
func (s *State) release(j *Job) {
	if !j.Over() {
		s.open--
	}
	if j.Active() {
		for _, n := range j.Plan.Nodes {
			delete(s.busy, n)
		}
	}
	if t := j.Request.Token; t != "" {
		delete(s.tokens, t)
	}
}

func (s *State) hold(j *Job) {
	if !j.Over() {
		s.open++
	}
	if j.Active() {
		for _, n := range j.Plan.Nodes {
			s.busy[n] = j.ID
		}
	}
	if t := j.Request.Token; t != "" {
		s.tokens[t] = j.ID
	}
}

func (d *draft) putNode(n *Node) Reply {
	if !d.owned.nodes {
		d.owned.nodes = true
		d.nodes = maps.Clone(d.nodes)
	}
	n.Order = d.index
	d.nodes[n.Info.Name] = n
	return Reply{Node: n}
}

func (d *draft) editMembers() map[string]api.Member {
	if !d.owned.members {
		d.owned.members = true
		d.members = maps.Clone(d.members)
	}
	return d.members
}

// decide adds an entry to the cluster's history, and to that of job j where it
// is not nil; j must be a copy that is still to be put back.
func (d *draft) decide(j *Job, node, action, reason string) {
	if !d.record {
		return
	}
	e := api.Decision{Index: d.index, At: d.at, Node: node, Action: action, Reason: reason}
	if j != nil {
		e.Job = j.ID
		// Appending in place is safe: there is one line of recorded states, and none
		// of the older ones looks behind its own end.
		j.History = append(j.History, e)
		if len(j.History) > MaxJobPast {
			j.History = slices.Concat(j.History[:jobPastHead], j.History[jobPastHead+1:])
		}
	}
	d.history = append(d.history, e)
	if len(d.history) > MaxHistory {
		d.history = d.history[1:]
	}
}

// forgetJobs drops the jobs that ended longest ago beyond MaxEnded.
func (d *draft) forgetJobs() {
	for len(d.jobs)-d.open > MaxEnded {
		var oldest *Job
		for _, j := range d.jobs {
			if j.Over() && (oldest == nil || j.EndOrder < oldest.EndOrder) {
				oldest = j
			}
		}
		d.release(oldest)
		delete(d.jobs, oldest.ID)
	}
}

// forgetNodes drops the nodes that are away longest beyond MaxAway, except those
// that a job still counts on: when that ends, they may be many at once.
func (d *draft) forgetNodes() {
	var away []*Node
	for _, n := range d.nodes {
		if n.State != api.NodeReady && d.busy[n.Info.Name] == "" {
			away = append(away, n)
		}
	}
	if len(away) <= MaxAway {
		return
	}
	slices.SortFunc(away, func(a, b *Node) int { return cmp.Compare(a.Order, b.Order) })
	for _, n := range away[:len(away)-MaxAway] {
		delete(d.nodes, n.Info.Name)
	}
}
