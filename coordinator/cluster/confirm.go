package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// confirmWait bounds a confirmation whose context has no deadline.
const confirmWait = 10 * time.Second

// Confirm returns when a majority has said, after the call, that this member leads:
// what [Cluster.State] returns then has everything that anybody was told of before the
// call. A leader that was cut off or stood still does not know that there is another.
// The error is [ErrNotLeader] or that of ctx.
func (m *Cluster) Confirm(ctx context.Context) error {
	if !m.Leads() {
		return ErrNotLeader
	}
	done := make(chan error, 1)
	verified := m.raft.VerifyLeader()
	go func() { done <- verified.Error() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
	case <-time.After(confirmWait):
		return fmt.Errorf("no majority of coordinators answers within %v: %w", confirmWait, ErrNotLeader)
	case <-ctx.Done():
		return ctx.Err()
	}
	// One that has led before may not have applied yet what others did since.
	if m.raft.CurrentTerm() != m.applied.Load() {
		return ErrNotLeader
	}
	return nil
}

// ownLog is Raft as the leader's loop needs it. It notes the term in which everything
// that was committed before was applied.
type ownLog struct {
	*raft.Raft
	applied *atomic.Uint64
}

// Barrier implements leader.Log.
func (l ownLog) Barrier(timeout time.Duration) raft.Future {
	term := l.CurrentTerm() // before: a later one may begin meanwhile
	return &barrier{Future: l.Raft.Barrier(timeout), term: term, applied: l.applied}
}

type barrier struct {
	raft.Future
	term    uint64
	applied *atomic.Uint64
}

// Error implements raft.Future.
func (b *barrier) Error() error {
	err := b.Future.Error()
	if err == nil {
		b.applied.Store(b.term)
	}
	return err
}
