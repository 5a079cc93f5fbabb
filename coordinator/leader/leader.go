package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"ressa/coordinator/api"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

// ErrNotLeader is returned by what only the leader can do.
var ErrNotLeader = errors.New("this coordinator does not lead")

// Log is what is needed of Raft.
type Log interface {
	Apply(command []byte, timeout time.Duration) raft.ApplyFuture
	Barrier(timeout time.Duration) raft.Future
}

// Nodes is how nodes are reached without being asked by them.
type Nodes interface {
	// Inspect has a node look at a job.
	Inspect(ctx context.Context, node, spec string) (api.Inspection, error)
	// Nudge has a node beat now, if it gets there.
	Nudge(node string)
	// URLs are where nodes find the hub.
	URLs() []string
}

// Config is what a member gives to its loop.
type Config struct {
	ID       string // of the member
	Version  string // of Ressa: nodes must be of the same
	Schedule schedule.Config
	State    *state.FSM
	Log      Log
	Nodes    Nodes
	Logger   *slog.Logger
	// Decide is schedule.Decide.
	Decide func(schedule.Input) schedule.Output
	// Now stamps commands: the wall clock, which may jump.
	Now func() time.Time
	// Steady measures leases: only differences count, and it does not jump. time.Now
	// is one.
	Steady func() time.Time
}

// Loop decides and proposes while its member leads. Its methods are safe for
// concurrent use.
type Loop struct {
	config Config
	frozen sync.RWMutex // held for writing while the state is replaced

	mu    sync.Mutex
	reign *reign // while this member leads
}

// New returns a loop that [Loop.Run] runs.
func New(c Config) *Loop { return &Loop{config: c} }

// Run leads while Raft says so, until ctx ends.
func (l *Loop) Run(ctx context.Context, leads <-chan bool) {
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case on := <-leads:
			stop()
			stop = func() {}
			if on {
				stop = l.lead(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Leads reports whether this member leads and everything that was committed before
// is applied.
func (l *Loop) Leads() bool { return l.leading() != nil }

func (l *Loop) leading() *reign {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reign
}

// View returns what the leader has heard of nodes; nothing on others.
func (l *Loop) View() schedule.View {
	if r := l.leading(); r != nil {
		return r.view()
	}
	return schedule.View{}
}

// Waiting returns why a pending job waits as of now; empty where this member does
// not lead or has no more to say than the state.
func (l *Loop) Waiting(job string) string {
	if r := l.leading(); r != nil {
		return r.waiting(job)
	}
	return ""
}

// Freeze waits for proposals that are under way and holds others back until thaw is
// called: while the state is replaced, none may be committed on the old one.
func (l *Loop) Freeze() (thaw func()) {
	l.frozen.Lock()
	return l.frozen.Unlock
}

// proposeWait bounds a proposal whose context has no deadline.
const proposeWait = 10 * time.Second

// Propose commits a command and returns what the state made of it. Errors are
// [ErrNotLeader], those of package state, and that of ctx. After a lost leadership
// the command may or may not be committed.
func (l *Loop) Propose(ctx context.Context, b state.Body) (state.Reply, error) {
	return l.propose(ctx, state.Command{At: l.config.Now(), Body: b})
}

func (l *Loop) propose(ctx context.Context, c state.Command) (state.Reply, error) {
	raw, err := state.Encode(c)
	if err != nil {
		return state.Reply{}, err
	}
	if err := ctx.Err(); err != nil {
		return state.Reply{}, err
	}
	l.frozen.RLock()
	defer l.frozen.RUnlock()
	wait := proposeWait
	if at, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(at))
	}
	f := l.config.Log.Apply(raw, max(wait, time.Millisecond))
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err = <-done:
	case <-time.After(wait):
		return state.Reply{}, fmt.Errorf("command is not committed after %v: most coordinators are away: %w", wait, ErrNotLeader)
	case <-ctx.Done():
		return state.Reply{}, ctx.Err()
	}
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrRaftShutdown),
		errors.Is(err, raft.ErrAbortedByRestore):
		return state.Reply{}, fmt.Errorf("%w: %w", ErrNotLeader, err)
	case err != nil:
		return state.Reply{}, err
	}
	r, ok := f.Response().(state.Reply)
	if !ok {
		return state.Reply{}, fmt.Errorf("raft answered %T", f.Response())
	}
	return r, r.Err
}
