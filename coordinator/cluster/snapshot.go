package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"ressa/coordinator/snapshot"
	"ressa/coordinator/state"
)

// Snapshot returns the replicated state with everything in it that was committed
// before the call. Only the leader can.
func (m *Cluster) Snapshot(ctx context.Context) (snapshot.Meta, []byte, error) {
	fail := func(err error) (snapshot.Meta, []byte, error) {
		return snapshot.Meta{}, nil, leadershipError(fmt.Errorf("snapshot: %w", err), err)
	}
	if !m.Leads() {
		return snapshot.Meta{}, nil, ErrNotLeader
	}
	if err := m.commitNothing(); err != nil {
		return fail(err)
	}
	open, err := m.newestSnapshot(ctx)
	if err != nil {
		return fail(err)
	}
	meta, r, err := open()
	if err != nil {
		return fail(err)
	}
	raw, err := io.ReadAll(io.LimitReader(r, snapshot.MaxState+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return fail(err)
	}
	if len(raw) > snapshot.MaxState {
		return fail(fmt.Errorf("the state has more than %d bytes", snapshot.MaxState))
	}
	return snapshot.Meta{Index: meta.Index, Term: meta.Term, At: m.config.Now(), Ressa: m.config.Version, Coordinator: m.config.ID}, raw, nil
}

// newestSnapshot has Raft take a snapshot, or finds the last one where nothing has
// happened since.
func (m *Cluster) newestSnapshot(ctx context.Context) (func() (*raft.SnapshotMeta, io.ReadCloser, error), error) {
	f := m.raft.Snapshot()
	done := make(chan error, 1)
	go func() { done <- f.Error() }() // ends with Raft
	var err error
	select {
	case err = <-done:
	case <-time.After(restoreWait):
		err = fmt.Errorf("not taken within %v", restoreWait)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return f.Open, err
	}
	list, err := m.snapshots.List()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("there is nothing yet")
	}
	return func() (*raft.SnapshotMeta, io.ReadCloser, error) { return m.snapshots.Open(list[0].ID) }, nil
}

// restoreWait bounds how long a snapshot may take, and the others to take a restored
// state up.
const restoreWait = time.Minute

// Restored says what came of a restored state.
type Restored struct {
	Index uint64   // of the state now
	Jobs  int      // in it
	Again []string // jobs that had a plan and get a new one
}

// Restore replaces the replicated state of all members by that of a snapshot, as
// [state.Restored] makes it safe for what runs. Only the leader can. After an error
// that wraps [ErrNotLeader] the state may be either; any other left it as it was.
func (m *Cluster) Restore(ctx context.Context, meta snapshot.Meta, raw []byte) (Restored, error) {
	if !m.Leads() {
		return Restored{}, ErrNotLeader
	}
	old, err := state.Read(bytes.NewReader(raw))
	if err != nil {
		return Restored{}, err
	}
	if old.Index() > meta.Index {
		return Restored{}, fmt.Errorf("snapshot of index %d has a state of index %d: %w", meta.Index, old.Index(), state.ErrInvalid)
	}
	// No plan may be committed between the look at the present state and its end: its
	// generation would be given out once more.
	thaw := m.Freeze()
	defer thaw()
	if err := ctx.Err(); err != nil {
		return Restored{}, err
	}
	if err := m.commitNothing(); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	s, again := state.Restored(old, m.State(), m.config.Now())
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		return Restored{}, err
	}
	to := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: max(meta.Index, s.Index()), Term: meta.Term, Size: int64(b.Len())}
	m.config.Logger.Warn("restoring a snapshot", "taken", meta.At, "index", meta.Index, "jobs", len(s.Jobs()), "planned again", again)
	if err := m.raft.Restore(to, &b, restoreWait); err != nil {
		return Restored{}, fmt.Errorf("restore: %w: %w", ErrNotLeader, err)
	}
	return Restored{Index: m.State().Index(), Jobs: len(s.Jobs()), Again: again}, nil
}
