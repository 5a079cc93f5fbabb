package shard

import (
	"fmt"
	"slices"
	"strings"
)

// MakePlan chooses the plan of a job: see [Request] and [Planned]. It is a pure
// function; permuting the nodes changes nothing. Errors wrap [ErrNoNodes],
// [ErrKinds], [ErrImpossible] or [ErrProfile], or are a [*DoesNotFit].
func MakePlan(r Request) (Planned, error) {
	if err := r.check(); err != nil {
		return Planned{}, fmt.Errorf("plan: %w", err)
	}
	nodes := slices.Clone(r.Nodes)
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	p, err := newSystem(r, nodes).choose()
	if err != nil {
		return Planned{}, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

// check refuses what cannot be planned at all.
func (r Request) check() error {
	if len(r.Nodes) == 0 {
		return ErrNoNodes
	}
	if err := r.Profile.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrProfile, err)
	}
	switch {
	case r.Microbatches < 1 || r.Microbatches > MaxMicrobatches:
		return fmt.Errorf("%w: %d microbatches, want 1 to %d", ErrProfile, r.Microbatches, MaxMicrobatches)
	case r.Wire != "" && r.Wire != FP32 && r.Wire != BF16:
		return fmt.Errorf("%w: wire dtype %q, want %s or %s", ErrProfile, r.Wire, FP32, BF16)
	case min(r.Want, r.VisionReplicas, r.LanguageReplicas) < 0:
		return fmt.Errorf("%w: %d nodes with %d vision and %d language replicas", ErrProfile, r.Want, r.VisionReplicas, r.LanguageReplicas)
	case len(r.Nodes) > MaxNodes:
		return fmt.Errorf("%w: %d nodes, want at most %d", ErrProfile, len(r.Nodes), MaxNodes)
	}
	seen := map[string]bool{}
	for _, n := range r.Nodes {
		if n.Name == "" || seen[n.Name] {
			return fmt.Errorf("%w: node name %q is empty or given twice", ErrProfile, n.Name)
		}
		seen[n.Name] = true
		if n.Kind != r.Nodes[0].Kind {
			return fmt.Errorf("%w: %s is %s, %s is %s", ErrKinds, r.Nodes[0].Name, r.Nodes[0].Kind, n.Name, n.Kind)
		}
		if n.Stream < 0 {
			return fmt.Errorf("%w: node %s takes %d bytes a stream", ErrProfile, n.Name, n.Stream)
		}
		if !sane(n.Speed) || !sane(n.Bandwidth) || !(n.Latency >= 0 && n.Latency <= 1e6) {
			return fmt.Errorf("%w: node %s has speed %v, bandwidth %v, latency %v", ErrProfile, n.Name, n.Speed, n.Bandwidth, n.Latency)
		}
	}
	return r.possible()
}

// sane reports whether a rate is one, or 0 for one that was not measured.
func sane(rate float64) bool { return rate == 0 || rate >= 1 && rate <= maxFlops }

// possible refuses requests that no profile could meet.
func (r Request) possible() error {
	replicas := max(r.VisionReplicas, r.LanguageReplicas)
	for _, t := range []struct {
		tower string
		n     int
	}{{Vision, r.VisionReplicas}, {Language, r.LanguageReplicas}} {
		switch {
		case t.n > r.Microbatches:
			return fmt.Errorf("%w: %d replicas of the %s tower are wanted, but a step has %d microbatches: one for each replica is the least", ErrImpossible, t.n, t.tower, r.Microbatches)
		case t.n > len(r.Nodes):
			return fmt.Errorf("%w: %d replicas of the %s tower are wanted, and %d nodes are there", ErrImpossible, t.n, t.tower, len(r.Nodes))
		case t.n > 0 && !slices.ContainsFunc(r.Profile.Towers, func(x Tower) bool { return x.Role == t.tower }):
			return fmt.Errorf("%w: %d replicas of the %s tower are wanted, and the model has none", ErrImpossible, t.n, t.tower)
		}
	}
	switch {
	case r.Want > len(r.Nodes):
		return fmt.Errorf("%w: %d nodes are wanted, and %d are there", ErrImpossible, r.Want, len(r.Nodes))
	case r.Want > 0 && replicas > r.Want:
		return fmt.Errorf("%w: %d replicas of a tower are wanted on %d nodes; each takes a node", ErrImpossible, replicas, r.Want)
	}
	return nil
}
