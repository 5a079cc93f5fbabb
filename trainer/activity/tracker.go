package activity

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Tracker is what one worker is doing. It is safe for concurrent use.
type Tracker struct {
	now func() time.Time

	mu    sync.Mutex
	count uint64
	tasks map[*task]bool
}

// task is one thread of the work. While it has children, they are what is done.
type task struct {
	tracker  *Tracker
	parent   *task
	what     string
	since    time.Time
	children int
	waits    map[int]int // calls that wait for a worker
}

// Report is what a worker is doing at a time.
type Report struct {
	// Count grows with everything that begins or ends.
	Count uint64
	// Doing is what has gone on for longest without waiting for another worker, For so
	// long; empty where all there is waits.
	Doing string
	For   time.Duration
	// Waits are the workers that something waits for, in ascending order.
	Waits []int
}

// New returns a tracker of nothing yet.
func New(now func() time.Time) *Tracker { return &Tracker{now: now, tasks: map[*task]bool{}} }

type key struct{}

// Track returns a context in which work is seen by the tracker.
func (t *Tracker) Track(ctx context.Context) context.Context {
	return context.WithValue(ctx, key{}, &task{tracker: t})
}

func of(ctx context.Context) *task {
	t, _ := ctx.Value(key{}).(*task)
	return t
}

// Begin says that a part of the work of ctx begins. It goes on in the context that is
// returned until end is called; meanwhile the whole counts as that part.
func Begin(ctx context.Context, what string) (_ context.Context, end func()) {
	parent := of(ctx)
	if parent == nil {
		return ctx, func() {}
	}
	t := parent.tracker
	x := &task{tracker: t, parent: parent, what: what, waits: map[int]int{}}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	x.since = t.now()
	t.tasks[x] = true
	parent.children++
	return context.WithValue(ctx, key{}, x), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.count++
		delete(t.tasks, x)
		parent.children--
		parent.since = t.now()
	}
}

// Beside is [Begin] for what goes on beside the work of ctx, which is not part of it.
func Beside(ctx context.Context, what string) (_ context.Context, end func()) {
	x := of(ctx)
	if x == nil {
		return ctx, func() {}
	}
	for x.parent != nil {
		x = x.parent
	}
	return Begin(context.WithValue(ctx, key{}, x), what)
}

// Wait says that the work of ctx waits for workers until end is called.
func Wait(ctx context.Context, workers ...int) (end func()) {
	x := of(ctx)
	if x == nil || x.waits == nil {
		return func() {}
	}
	t := x.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range workers {
		x.waits[w]++
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.count++
		x.since = t.now()
		for _, w := range workers {
			if x.waits[w]--; x.waits[w] == 0 {
				delete(x.waits, w)
			}
		}
	}
}

// Report returns what is being done.
func (t *Tracker) Report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Report{Count: t.count}
	now, waits := t.now(), map[int]bool{}
	var oldest *task
	for x := range t.tasks {
		switch {
		case x.children > 0:
		case len(x.waits) > 0:
			for w := range x.waits {
				waits[w] = true
			}
		case oldest == nil, x.since.Before(oldest.since), x.since.Equal(oldest.since) && x.what < oldest.what:
			oldest = x
		}
	}
	if oldest != nil {
		r.Doing, r.For = oldest.what, max(0, now.Sub(oldest.since))
	}
	r.Waits = slices.Sorted(maps.Keys(waits))
	return r
}
