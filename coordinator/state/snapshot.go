package state

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"ressa/coordinator/api"
)

// file is a snapshot on the wire and on disk. Its lists are sorted, so that equal
// states are equal bytes.
type file struct {
	V       int            `json:"v"`
	Index   uint64         `json:"index"`
	Jobs    []*Job         `json:"jobs"`    // by ID
	Nodes   []*Node        `json:"nodes"`   // by name
	Members []api.Member   `json:"members"` // by ID
	History []api.Decision `json:"history"`
}

// Write writes the state as a snapshot.
func (s *State) Write(w io.Writer) error {
	f := file{V: 1, Index: s.index, Nodes: s.Nodes(), Members: s.Members(), History: s.history}
	f.Jobs = slices.Collect(maps.Values(s.jobs))
	slices.SortFunc(f.Jobs, func(a, b *Job) int { return cmp.Compare(a.ID, b.ID) })
	if slices.ContainsFunc(f.Jobs, (*Job).second) {
		f.V = 2
	}
	b := bufio.NewWriterSize(w, 1<<16)
	if err := json.NewEncoder(b).Encode(f); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// second reports whether a job has something that version 1 does not know.
func (j *Job) second() bool { return len(j.Changes) > 0 }

// Read reads a snapshot. Errors wrap [ErrVersion] or [ErrInvalid].
func Read(r io.Reader) (*State, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("snapshot: %w: %w", ErrInvalid, err)
	}
	if head.V > Version {
		return nil, fmt.Errorf("snapshot has version %d, this coordinator understands up to %d: upgrade it: %w", head.V, Version, ErrVersion)
	}
	if head.V < 1 {
		return nil, fmt.Errorf("snapshot has version %d, want 1 to %d: %w", head.V, Version, ErrInvalid)
	}
	var f file
	if err := strict(raw, &f); err != nil {
		return nil, fmt.Errorf("snapshot: %w: %w", ErrInvalid, err)
	}
	s, err := f.state()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w: %w", ErrInvalid, err)
	}
	return s, nil
}

func (f *file) state() (*State, error) {
	s := Empty()
	s.index, s.history = f.Index, f.History
	for _, n := range f.Nodes {
		if n == nil || s.nodes[n.Info.Name] != nil {
			return nil, errors.New("a node is missing or there twice")
		}
		s.nodes[n.Info.Name] = n
	}
	for _, m := range f.Members {
		if _, known := s.members[m.ID]; known {
			return nil, errors.New("a coordinator is there twice")
		}
		s.members[m.ID] = m
	}
	for _, j := range f.Jobs {
		if j == nil || s.jobs[j.ID] != nil {
			return nil, errors.New("a job is missing or there twice")
		}
		if f.V == 1 && j.second() {
			return nil, fmt.Errorf("job %s has changes, which version 1 does not know", j.ID)
		}
		if !slices.IsSortedFunc(j.Changes, func(a, b api.Change) int { return cmp.Compare(a.Generation, b.Generation) }) {
			return nil, fmt.Errorf("the changes of job %s are not in order", j.ID)
		}
		if err := oneOf("state", j.State, api.Pending, api.Starting, api.Running, api.Cancelling, api.Succeeded, api.Failed, api.Cancelled); err != nil {
			return nil, fmt.Errorf("job %s: %w", j.ID, err)
		}
		if other := s.Submitted(j.Request.Token); other != nil {
			return nil, fmt.Errorf("the jobs %s and %s have the token %q", other.ID, j.ID, j.Request.Token)
		}
		if j.Active() {
			if err := whole(j.Plan); err != nil {
				return nil, fmt.Errorf("job %s: %w", j.ID, err)
			}
			if n := len(j.Plan.Nodes); len(j.Devices) != n || len(j.Sessions) != n {
				return nil, fmt.Errorf("job %s has %d workers, %d devices, %d sessions", j.ID, n, len(j.Devices), len(j.Sessions))
			}
			for _, n := range j.Plan.Nodes {
				if other := s.busy[n]; other != "" {
					return nil, fmt.Errorf("node %s works for the jobs %s and %s", n, other, j.ID)
				}
			}
		}
		s.jobs[j.ID] = j
		s.hold(j)
	}
	return s, nil
}
