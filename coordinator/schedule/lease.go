package schedule

import (
	"slices"
	"sync"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// Lease is what the leader knows of a node from its beats.
type Lease struct {
	Session string        // of the last beat; empty before the first
	Silent  time.Duration // since the last beat, or since the leader began to listen
	Leaving bool
	Tasks   []api.Task
	Paces   []Pace // by task
	Reach   map[string]string
	Health  []api.Finding
}

// Pace is how a worker gets on, as its leader has seen it.
type Pace struct {
	Quiet   time.Duration // since anything began or ended in it
	Longest time.Duration // that it has been quiet before, in the same phase of the generation
}

// View is what the leader knows of all nodes that it has heard of. A node that is
// not in it has been silent since Since.
type View struct {
	Leases map[string]Lease
	Since  time.Duration // how long the leader has listened
}

// Of returns the lease of a node.
func (v View) Of(node string) Lease {
	if l, ok := v.Leases[node]; ok {
		return l
	}
	return Lease{Silent: v.Since}
}

// task returns what a node said last of its part in a generation of a job.
func (v View) task(node, session, job string, generation int) *api.Task {
	t, _ := v.paced(node, session, job, generation)
	return t
}

// paced is task with how the worker gets on.
func (v View) paced(node, session, job string, generation int) (*api.Task, Pace) {
	l, ok := v.Leases[node]
	if !ok || l.Session != session {
		return nil, Pace{}
	}
	i := slices.IndexFunc(l.Tasks, func(t api.Task) bool { return t.Job == job && t.Generation == generation })
	if i < 0 {
		return nil, Pace{}
	}
	return &l.Tasks[i], l.Paces[i]
}

// Leases collects beats in the memory of a leader. It is safe for concurrent use
// and reads no clock. A new leader makes a new one: that grants every node one
// full lease.
type Leases struct {
	mu    sync.Mutex
	since time.Time
	heard map[string]heard
}

type heard struct {
	at     time.Time
	beat   api.Beat
	events []event // the last of each task of the beat
}

// event is when something last began or ended in a worker.
type event struct {
	at      time.Time
	longest time.Duration // between two before, in the same phase
}

// event returns that of a task, after a beat that came now.
func (h heard) event(session string, t api.Task, now time.Time) event {
	i := slices.IndexFunc(h.beat.Tasks, func(x api.Task) bool { return x.Job == t.Job && x.Generation == t.Generation })
	if i < 0 || h.beat.Session != session {
		return event{at: now}
	}
	before, last := h.beat.Tasks[i], h.events[i]
	switch {
	case before.Phase != t.Phase || before.State != t.State:
		return event{at: now}
	case before.Activity == t.Activity && before.Step == t.Step:
		return last
	}
	return event{now, max(last.longest, now.Sub(last.at))}
}

// NewLeases returns leases of a leader that begins to listen now.
func NewLeases(now time.Time) *Leases { return &Leases{since: now, heard: map[string]heard{}} }

// Observe takes a beat in. Only beats of a registered session belong here: see
// [Admit].
func (l *Leases) Observe(node string, b api.Beat, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.Info, b.Health = nil, b.Health[:min(len(b.Health), api.MaxFindings)]
	h := heard{at: now, beat: b}
	for _, t := range b.Tasks {
		h.events = append(h.events, l.heard[node].event(b.Session, t, now))
	}
	l.heard[node] = h
}

// Deaf says that the leader's process stood still for some time: it cannot have heard
// a beat meanwhile, and no node is to answer for that.
func (l *Leases) Deaf(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = l.since.Add(d)
	for n, h := range l.heard {
		h.at = h.at.Add(d)
		for i := range h.events {
			h.events[i].at = h.events[i].at.Add(d)
		}
		l.heard[n] = h
	}
}

// Follow forgets what was heard of nodes that have been lost between two states: only
// what they say from now on brings them back.
func (l *Leases) Follow(before, after *state.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.heard {
		now, was := after.Node(n), before.Node(n)
		if now == nil || now.State == api.NodeLost && (was == nil || was.State != api.NodeLost) {
			delete(l.heard, n)
		}
	}
}

// View returns what is known at a time.
func (l *Leases) View(now time.Time) View {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := View{Leases: make(map[string]Lease, len(l.heard)), Since: max(0, now.Sub(l.since))}
	for n, h := range l.heard {
		v.Leases[n] = h.lease(now)
	}
	return v
}

// Of returns the lease of one node at a time.
func (l *Leases) Of(node string, now time.Time) Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h, ok := l.heard[node]; ok {
		return h.lease(now)
	}
	return Lease{Silent: max(0, now.Sub(l.since))}
}

func (h heard) lease(now time.Time) Lease {
	l := Lease{Session: h.beat.Session, Silent: max(0, now.Sub(h.at)), Leaving: h.beat.Leaving, Tasks: h.beat.Tasks, Reach: h.beat.Reach, Health: h.beat.Health}
	for _, e := range h.events {
		// What the node has not told of is not known to be quiet.
		l.Paces = append(l.Paces, Pace{max(0, h.at.Sub(e.at)), e.longest})
	}
	return l
}
