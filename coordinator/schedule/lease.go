package schedule

import (
	"slices"
	"sync"
	"time"

	"ressa/coordinator/api"
)

// Lease is what the leader knows of a node from its beats.
type Lease struct {
	Session string        // of the last beat; empty before the first
	Silent  time.Duration // since the last beat, or since the leader began to listen
	Leaving bool
	Tasks   []api.Task
	Reach   map[string]string
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
	l, ok := v.Leases[node]
	if !ok || l.Session != session {
		return nil
	}
	i := slices.IndexFunc(l.Tasks, func(t api.Task) bool { return t.Job == job && t.Generation == generation })
	if i < 0 {
		return nil
	}
	return &l.Tasks[i]
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
	at   time.Time
	beat api.Beat
}

// NewLeases returns leases of a leader that begins to listen now.
func NewLeases(now time.Time) *Leases { return &Leases{since: now, heard: map[string]heard{}} }

// Observe takes a beat in. Only beats of a registered session belong here: see
// [Admit].
func (l *Leases) Observe(node string, b api.Beat, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.Info = nil
	l.heard[node] = heard{now, b}
}

// Deaf says that the leader's process stood still for some time: it cannot have heard
// a beat meanwhile, and no node is to answer for that.
func (l *Leases) Deaf(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = l.since.Add(d)
	for n, h := range l.heard {
		h.at = h.at.Add(d)
		l.heard[n] = h
	}
}

// Keep forgets the nodes that are not among those that keep reports true for.
func (l *Leases) Keep(keep func(node string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.heard {
		if !keep(n) {
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
	return Lease{Session: h.beat.Session, Silent: max(0, now.Sub(h.at)), Leaving: h.beat.Leaving, Tasks: h.beat.Tasks, Reach: h.beat.Reach}
}
