package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"ressa/coordinator/api"
)

// Monitor watches the devices of a node's machine.
type Monitor interface {
	// Watch tells all that is wrong, at once and at every change, until ctx ends.
	Watch(ctx context.Context, tell func([]api.Finding))
}

// health is what the monitor has told last.
type health struct {
	mu      sync.Mutex
	found   []api.Finding
	changed chan struct{} // closed at the next change
}

func newHealth() *health { return &health{changed: make(chan struct{})} }

// now returns what is wrong, and a channel that is closed when that changes.
func (h *health) now() ([]api.Finding, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.found, h.changed
}

func (h *health) set(found []api.Finding) (before []api.Finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, h.found = h.found, found
	close(h.changed)
	h.changed = make(chan struct{})
	return before
}

// watching does something while the monitor watches.
func (a *agent) watching(ctx context.Context, run func(context.Context) error) error {
	if a.Monitor != nil {
		watch, stop := context.WithCancel(ctx)
		defer stop()
		a.tasks.Go(func() { a.Monitor.Watch(watch, a.hear) })
	}
	return run(ctx)
}

// hear takes in what the monitor tells, and has it told to the coordinators at once.
func (a *agent) hear(found []api.Finding) {
	for i := range found {
		found[i].Device = a.GPUs[found[i].UUID]
	}
	before := a.health.set(found)
	for _, f := range found {
		if !slices.Contains(before, f) {
			a.Logger.Warn("device is not well", "severity", f.Severity, "reason", f.Reason, "computes", f.Device != "")
		}
	}
	for _, f := range before {
		if !slices.Contains(found, f) {
			a.Logger.Info("not so any more", "reason", f.Reason)
		}
	}
	a.hurry()
}

// diagnoseWait is how long a worker's failure waits for what is found about its GPU:
// the driver tells of an error a moment after the call that meets it.
const diagnoseWait = 2 * time.Second

// diagnose blames a failed device for the failure of a worker that computed on it: the
// job is well and can go on elsewhere.
func (a *agent) diagnose(ctx context.Context, device string, r *api.Report) {
	watched := false
	for _, name := range a.GPUs {
		watched = watched || name == device
	}
	if r.State != api.Failed || len(r.Broken) > 0 || !watched {
		return
	}
	late := time.NewTimer(diagnoseWait)
	defer late.Stop()
	for {
		found, changed := a.health.now()
		for _, f := range found {
			if f.Device == device && f.Severity == api.Fatal {
				r.Broken, r.Error = []int{r.Worker}, f.Reason+": "+r.Error
				return
			}
		}
		select {
		case <-changed:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
