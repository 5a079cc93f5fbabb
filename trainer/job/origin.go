package job

import (
	"math"
	"time"

	"ressa/coordinator/api"
)

// origin is where this generation goes on from, until its first step tells when.
type origin struct {
	api.Origin
	since time.Time // of the last step that anybody knows of; zero where nobody does
}

// sinceStep returns how long ago this worker's process made its last step of the job,
// or, of a process that has made none, when the run's event log was last written to;
// in seconds, 0 where neither is known. Ages can be compared between machines, times
// cannot.
func (r *run) sinceStep() float64 {
	at := r.logged
	if r.Memory != nil {
		r.Memory.mu.Lock()
		if !r.Memory.stepped.IsZero() {
			at = r.Memory.stepped
		}
		r.Memory.mu.Unlock()
	}
	if at.IsZero() {
		return 0
	}
	return max(r.Now().Sub(at).Seconds(), 1e-3)
}

// goesOn notes where training goes on from.
func (r *run) goesOn(all []memories, m mark, holder, disk, lost int) {
	o := &origin{Origin: api.Origin{From: api.FromStart, StepsLost: max(0, lost)}}
	switch {
	case m.Steps > disk:
		o.From, o.Step = api.FromMemory, m.Steps
	case disk > 0:
		o.From, o.Step, o.Holder = api.FromCheckpoint, disk, r.team.Plan().Nodes[holder]
	}
	age := math.Inf(1)
	for _, x := range all {
		if x.Since > 0 {
			age = min(age, x.Since)
		}
	}
	if !math.IsInf(age, 1) && (o.Step > 0 || lost > 0) {
		o.since = r.Now().Add(-time.Duration(age * float64(time.Second)))
	}
	r.origin = o
	if o.Step >= r.job.Train.Steps {
		r.wentOn(false) // no step is left
	}
}

// wentOn tells where training has gone on from, once, after its first step.
func (r *run) wentOn(stepped bool) {
	now := r.Now()
	if r.Memory != nil && stepped {
		r.Memory.mu.Lock()
		r.Memory.stepped = now
		r.Memory.mu.Unlock()
	}
	o := r.origin
	if o == nil || !r.team.Chief() || r.WentOn == nil {
		return
	}
	r.origin = nil
	if stepped && !o.since.IsZero() {
		o.Pause = math.Round(now.Sub(o.since).Seconds()*1000) / 1000
	}
	r.WentOn(o.Origin)
}
