package leader

import (
	"context"
	"errors"
	"sync"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
	"ressa/shard"
)

// reign is one time of leading: all that only the leader knows.
type reign struct {
	*Loop
	leases *schedule.Leases
	memo   schedule.Memo
	ages   schedule.Ages
	wake   chan struct{} // something was heard that a decision may depend on

	mu         sync.Mutex
	awake      time.Time // when this process was last seen to run
	inspecting map[string]schedule.Inspecting
	failed     map[string]time.Time // when a job's last inspection did
	why        map[string]string    // by pending job
}

// lead begins to decide and returns what ends it.
func (l *Loop) lead(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.decide(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// decide decides until ctx ends. It begins when everything that was committed
// before is applied.
func (l *Loop) decide(ctx context.Context) {
	if err := l.config.Log.Barrier(proposeWait).Error(); err != nil {
		l.config.Logger.Warn("leadership lost before it began", "error", err)
		return
	}
	now := l.config.Steady()
	r := &reign{Loop: l, leases: schedule.NewLeases(now), awake: now, wake: make(chan struct{}, 1),
		inspecting: map[string]schedule.Inspecting{}, failed: map[string]time.Time{}, why: map[string]string{}}
	l.mu.Lock()
	l.reign = r
	l.mu.Unlock()
	l.config.Logger.Info("leading")
	var inspections sync.WaitGroup
	inspections.Go(func() { r.listen(ctx) })
	defer func() {
		l.mu.Lock()
		l.reign = nil
		l.mu.Unlock()
		inspections.Wait()
		l.config.Logger.Info("not leading any more")
	}()
	r.run(ctx, &inspections)
}

// listen looks several times a lease whether the process runs.
func (r *reign) listen(ctx context.Context) {
	every := time.NewTicker(r.config.Schedule.Lease / 6)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			r.now()
		case <-ctx.Done():
			return
		}
	}
}

// now returns the time by which leases are measured. It notices first when the whole
// process stood still, as when it was stopped or its machine slept.
func (r *reign) now() time.Time {
	now := r.config.Steady()
	r.mu.Lock()
	gap := now.Sub(r.awake)
	r.awake = now
	if gap > r.config.Schedule.Lease/2 {
		r.leases.Deaf(gap) // under the lock: nobody else looks before
		r.config.Logger.Warn("this process stood still; leases are longer by as much", "for", gap)
	}
	r.mu.Unlock()
	return now
}

// view returns what was heard of nodes.
func (r *reign) view() schedule.View { return r.leases.View(r.now()) }

// pause comes before a decision: what arrives together, as a node's registration and
// its first beat, is decided together, and not more often than it can matter.
const pause = 10 * time.Millisecond

func (r *reign) run(ctx context.Context, inspections *sync.WaitGroup) {
	every := time.NewTicker(r.config.Schedule.Lease / 6)
	defer every.Stop()
	nudged, followed := state.Empty(), r.config.State.State()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		select { // what was heard so far counts in this decision
		case <-r.wake:
		default:
		}
		s, changed := r.config.State.Watch()
		for _, node := range state.Nudges(nudged, s) {
			r.config.Nodes.Nudge(node)
		}
		r.leases.Follow(followed, s)
		nudged, followed = s, s
		out := r.config.Decide(schedule.Input{Config: r.config.Schedule, State: s, Leases: r.view(), Now: r.config.Now(),
			Understood: understood(s, r.config.Version), Plan: shard.MakePlan, Memo: &r.memo, Ages: &r.ages, Inspecting: r.look(s)})
		if r.carryOut(ctx, out, inspections) {
			continue
		}
		every.Reset(r.config.Schedule.Lease / 6)
		select {
		case <-changed:
		case <-r.wake:
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// carryOut proposes what was decided, and reports whether to decide again at once.
func (r *reign) carryOut(ctx context.Context, out schedule.Output, inspections *sync.WaitGroup) bool {
	r.mu.Lock()
	r.why = out.Waiting
	r.mu.Unlock()
	for _, c := range out.Commands {
		if _, err := r.propose(ctx, c); err != nil {
			if ctx.Err() == nil && !errors.Is(err, ErrNotLeader) {
				r.config.Logger.Info("decision refused", "error", err)
			}
			return false // what is applied by now wakes the next decision
		}
	}
	for _, o := range out.Inspect {
		r.mu.Lock()
		i := r.inspecting[o.Job]
		i.Node = o.Node
		r.inspecting[o.Job] = i
		r.mu.Unlock()
		inspections.Go(func() { r.inspect(ctx, o) })
	}
	return out.Again || len(out.Commands) > 0
}

// look returns the inspections under way of jobs that still wait for one.
func (r *reign) look(s *state.State) map[string]schedule.Inspecting {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]schedule.Inspecting{}
	for job, i := range r.inspecting {
		if j := s.Job(job); j == nil || j.State != api.Pending || j.Inspection != nil {
			if i.Node == "" {
				delete(r.inspecting, job)
				delete(r.failed, job)
			}
			continue
		}
		if i.Node == "" && time.Since(r.failed[job]) > againWait {
			i.Tried = nil // whoever could not be asked may be back
			r.inspecting[job] = i
		}
		out[job] = i
	}
	return out
}

func (r *reign) waiting(job string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why[job]
}

// alert has the next decision made at once.
func (r *reign) alert() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// inspectWait is how long a node may look at a job, againWait how long until nodes
// that failed are asked again.
const (
	inspectWait = 10 * time.Minute
	againWait   = 10 * time.Second
)

// inspect has a node look at a job and proposes what it found.
func (r *reign) inspect(ctx context.Context, o schedule.Order) {
	defer r.alert()
	wait, cancel := context.WithTimeout(telemetry.JobRoot(o.Job).Under(ctx), inspectWait)
	defer cancel()
	found, err := r.config.Nodes.Inspect(wait, o.Node, o.Spec)
	if err == nil {
		_, err = r.Propose(ctx, &state.Inspected{Job: o.Job, Node: o.Node, Inspection: found})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.inspecting[o.Job]
	i.Node = ""
	if err != nil {
		r.config.Logger.Info("no inspection", "job", o.Job, "node", o.Node, "error", err)
		i.Tried = append(i.Tried, o.Node)
		r.failed[o.Job] = time.Now()
	}
	r.inspecting[o.Job] = i
}
