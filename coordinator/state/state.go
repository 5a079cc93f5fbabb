package state

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ressa/coordinator/api"
)

// State is all that the coordinators agree on after one entry of the log. It is
// immutable and safe for concurrent use; so is whatever it returns a pointer to.
type State struct {
	index   uint64
	jobs    map[string]*Job
	nodes   map[string]*Node
	members map[string]api.Member
	history []api.Decision

	// Derived from the jobs.
	tokens map[string]string // of a request → job
	busy   map[string]string // node → the active job that holds it
	open   int               // jobs that have not ended
}

// Empty returns the state before the first command.
func Empty() *State {
	return &State{
		jobs: map[string]*Job{}, nodes: map[string]*Node{}, members: map[string]api.Member{},
		tokens: map[string]string{}, busy: map[string]string{},
	}
}

// Index returns the index of the last command.
func (s *State) Index() uint64 { return s.index }

// Job returns a job by its full ID; nil for none.
func (s *State) Job(id string) *Job { return s.jobs[id] }

// Node returns a node by its name; nil for none.
func (s *State) Node(name string) *Node { return s.nodes[name] }

// Holder returns the active job that holds a node; nil for none.
func (s *State) Holder(node string) *Job { return s.jobs[s.busy[node]] }

// Submitted returns the job that was submitted with a token; nil for none.
func (s *State) Submitted(token string) *Job {
	if token == "" {
		return nil
	}
	return s.jobs[s.tokens[token]]
}

// Find returns the job whose ID is, or alone begins with, prefix. Errors wrap
// [ErrNotFound] or [ErrAmbiguous].
func (s *State) Find(prefix string) (*Job, error) {
	if j := s.jobs[prefix]; j != nil {
		return j, nil
	}
	var ids []string
	for id := range s.jobs {
		if prefix != "" && strings.HasPrefix(id, prefix) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	switch len(ids) {
	case 0:
		return nil, fmt.Errorf("job %q: %w", prefix, ErrNotFound)
	case 1:
		return s.jobs[ids[0]], nil
	}
	return nil, fmt.Errorf("job %q: %w: %d jobs begin so: %s", prefix, ErrAmbiguous, len(ids), strings.Join(ids[:min(5, len(ids))], ", "))
}

// Jobs returns all jobs, newest first.
func (s *State) Jobs() []*Job {
	out := slices.Collect(maps.Values(s.jobs))
	slices.SortFunc(out, func(a, b *Job) int { return cmp.Compare(b.Order, a.Order) })
	return out
}

// Pending returns the jobs that wait for nodes, in the order of the queue.
func (s *State) Pending() []*Job { return s.queue(func(j *Job) bool { return j.State == api.Pending }) }

// Active returns the jobs that hold nodes, in the order of the queue.
func (s *State) Active() []*Job { return s.queue((*Job).Active) }

func (s *State) queue(in func(*Job) bool) []*Job {
	var out []*Job
	for _, j := range s.jobs {
		if in(j) {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b *Job) int { return cmp.Compare(a.Order, b.Order) })
	return out
}

// Nodes returns all nodes by name.
func (s *State) Nodes() []*Node {
	out := slices.Collect(maps.Values(s.nodes))
	slices.SortFunc(out, func(a, b *Node) int { return strings.Compare(a.Info.Name, b.Info.Name) })
	return out
}

// Members returns the coordinators by ID, without Leader and Alive.
func (s *State) Members() []api.Member {
	out := slices.Collect(maps.Values(s.members))
	slices.SortFunc(out, func(a, b api.Member) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// History returns the newest decisions of the cluster, oldest first.
func (s *State) History() []api.Decision { return slices.Clip(s.history) }

// Assignments returns what a session of a node has to work on: its part of the
// job that holds it, unless it has reported how that ended.
func (s *State) Assignments(node, session string) []api.Assignment {
	j := s.Holder(node)
	if j == nil {
		return nil
	}
	w := j.Plan.Worker(node)
	if w < 0 || j.Sessions[w] != session || j.Report(w) != nil {
		return nil
	}
	a := api.Assignment{
		Job: j.ID, Generation: j.Generation, Worker: w, Spec: j.Request.Spec, Plan: j.Plan,
		Kind: j.Kind, Device: j.Devices[w], Cancel: j.State == api.Cancelling,
	}
	for _, peer := range j.Plan.Nodes {
		p := api.Peer{Node: peer}
		if n := s.nodes[peer]; n != nil {
			p.Tensors = n.Info.Tensors
		}
		a.Peers = append(a.Peers, p)
	}
	return []api.Assignment{a}
}

// Nudges returns the nodes, sorted, whose assignments differ between two states:
// those that should be told to beat now.
func Nudges(before, after *State) []string {
	changed := map[string]bool{}
	for _, pair := range [][2]*State{{before, after}, {after, before}} {
		for node := range pair[0].busy {
			a, b := pair[0].Holder(node), pair[1].Holder(node)
			if b == nil || a.ID != b.ID || a.Generation != b.Generation || (a.State == api.Cancelling) != (b.State == api.Cancelling) {
				changed[node] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(changed))
}
