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
	return choose(r, nodes)
}

// check refuses what cannot be planned at all.
func (r Request) check() error {
	if len(r.Nodes) == 0 {
		return ErrNoNodes
	}
	if len(r.Profile.Towers) != 2 || r.Microbatches < 1 {
		return fmt.Errorf("%d towers, %d microbatches: %w", len(r.Profile.Towers), r.Microbatches, ErrProfile)
	}
	for _, n := range r.Nodes[1:] {
		if n.Kind != r.Nodes[0].Kind {
			return fmt.Errorf("%s and %s: %w", r.Nodes[0].Kind, n.Kind, ErrKinds)
		}
	}
	return nil
}
