package cluster

import (
	"context"
	"fmt"
	"time"
)

// confirmWait bounds a confirmation.
const confirmWait = 10 * time.Second

// Confirm returns when a majority has said, after the call, that this member leads:
// what [Cluster.State] returns then has everything that anybody was told of before the
// call. A leader that was cut off or stood still does not know that there is another.
// The error is [ErrNotLeader] or that of ctx.
//
// It commits an empty entry, one for all calls that wait for it. Raft's own question
// to the others takes an answer that was on the way before for one, and a leader that
// stood still finds such answers when it wakes.
func (m *Cluster) Confirm(ctx context.Context) error {
	if !m.Leads() {
		return ErrNotLeader
	}
	answer := make(chan error, 1)
	select {
	case m.confirms <- answer:
	case <-m.life.Done():
		return ErrNotLeader
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// confirm answers calls of Confirm, those that came in the meantime together.
func (m *Cluster) confirm() {
	for {
		var calls []chan error
		select {
		case c := <-m.confirms:
			calls = append(calls, c)
		case <-m.life.Done():
			return
		}
		for more := true; more; {
			select {
			case c := <-m.confirms:
				calls = append(calls, c)
			default:
				more = false
			}
		}
		err := m.commitNothing()
		for _, c := range calls {
			c <- err
		}
	}
}

// commitNothing commits an empty entry.
func (m *Cluster) commitNothing() error {
	done := make(chan error, 1)
	committed := m.raft.Barrier(confirmWait)
	go func() { done <- committed.Error() }() // ends with Raft
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		return nil
	case <-time.After(confirmWait):
		return fmt.Errorf("no majority of coordinators answers within %v: %w", confirmWait, ErrNotLeader)
	case <-m.life.Done():
		return ErrNotLeader
	}
}
