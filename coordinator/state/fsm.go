package state

import (
	"context"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// FSM feeds a [State] from Raft. Its zero value is not usable; see [NewFSM].
type FSM struct {
	mu      sync.Mutex
	state   *State
	changed chan struct{} // closed at the next change; nil while nobody waits
}

var _ raft.FSM = (*FSM)(nil)

// NewFSM returns a state machine in the empty state.
func NewFSM() *FSM { return &FSM{state: Empty()} }

// State returns the state after the last entry that was applied here.
func (f *FSM) State() *State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// Watch returns the state and a channel that is closed when there is a newer one.
// Whoever loses interest just drops the channel.
func (f *FSM) Watch() (*State, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.state, f.changed
}

// Wait returns the first state that it sees with an index above the given one.
// Indexes are those of commands: entries that Raft writes for itself have none.
func (f *FSM) Wait(ctx context.Context, above uint64) (*State, error) {
	for {
		s, changed := f.Watch()
		if s.Index() > above {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// Apply applies one entry of the log and returns a [Reply]. It is called by Raft,
// from one goroutine.
func (f *FSM) Apply(l *raft.Log) any { return f.apply(l.Index, l.Data) }

func (f *FSM) apply(index uint64, raw []byte) Reply {
	s := f.State()
	c, err := Decode(raw)
	if err != nil {
		refused := *s
		refused.index = index
		f.set(&refused)
		return Reply{Index: index, Err: err}
	}
	s, r := s.next(index, c, true)
	f.set(s)
	return r
}

func (f *FSM) set(s *State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Snapshot returns the present state for Raft to store; it costs nothing until it
// is written.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.State()}, nil }

// Restore replaces the state by that of a snapshot. After an error the state is
// the one before.
func (f *FSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	s, err := Read(r)
	if err != nil {
		return err
	}
	f.set(s)
	return nil
}

type snapshot struct{ state *State }

// Persist writes the snapshot into a sink of Raft.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.state.Write(sink); err != nil {
		return cancelled(sink, err)
	}
	return sink.Close()
}

func cancelled(sink raft.SnapshotSink, err error) error {
	if e := sink.Cancel(); e != nil {
		return e
	}
	return err
}

// Release is part of raft.FSMSnapshot; there is nothing to release.
func (s snapshot) Release() {}
