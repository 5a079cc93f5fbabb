package shard

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// tolerance is how much longer a preferred plan may take than the fastest: the cost
// model is no better than that.
const tolerance = 1.05

// trial is the best candidate of a kind on a number of nodes.
type trial struct {
	nodes int
	best  [together + 1]*candidate // by kind; nil where there is none
}

// better reports whether a is to be preferred to b of the same kind.
func better(a, b *candidate) bool {
	switch {
	case b == nil:
		return true
	case a.missing != b.missing || math.IsInf(a.seconds, 1):
		return a.missing < b.missing
	case a.seconds != b.seconds:
		return a.seconds < b.seconds
	}
	return len(a.segments) < len(b.segments)
}

// mostTried bounds the candidates that are simulated on more nodes than are
// narrow: the most promising ones.
const mostTried = 24

// try evaluates ways to hold the towers on n nodes, the most promising first, and
// passes over those that cannot be as fast as what is there.
func (s *system) try(t *trial, ways [][]segment) {
	type promise struct {
		segments []segment
		bound    float64
	}
	var list []promise
	for _, w := range ways {
		list = append(list, promise{w, s.bound(w)})
	}
	slices.SortStableFunc(list, func(a, b promise) int { return cmp.Compare(a.bound, b.bound) })
	fastest := math.Inf(1)
	for i, p := range list {
		k := s.spread(p.segments)
		if t.best[k] != nil && (p.bound > tolerance*fastest || t.nodes > narrow && i >= mostTried && !math.IsInf(fastest, 1)) {
			continue
		}
		c := s.evaluate(p.segments)
		fastest = min(fastest, c.seconds)
		if better(c, t.best[k]) {
			t.best[k] = c
		}
	}
}

// pick returns the candidate that fits and is preferred among those that are about
// as fast as the fastest; nil where none fits.
func (t trial) pick() *candidate {
	fastest := math.Inf(1)
	for _, c := range t.best {
		if c != nil {
			fastest = min(fastest, c.seconds)
		}
	}
	if math.IsInf(fastest, 1) {
		return nil
	}
	for _, c := range t.best {
		if c != nil && c.seconds <= tolerance*fastest {
			return c
		}
	}
	return nil
}

// counts returns the numbers of nodes to try: all up to 16, then every second up to
// 32 and so on, since one more node changes little; all nodes at last.
func (s *system) counts() []int {
	if s.Want > 0 {
		return []int{s.Want}
	}
	var out []int
	for n := 1; n <= len(s.nodes); n += max(1, 1<<bits.Len(uint(n))>>4) {
		out = append(out, n)
	}
	if last := len(s.nodes); out[len(out)-1] != last {
		out = append(out, last)
	}
	return out
}

// choose tries whole towers first; towers are cut into stages where those do not
// fit, or where the replicas asked for leave nodes over.
func (s *system) choose() (Planned, error) {
	var trials []trial
	for _, n := range s.counts() {
		t := trial{nodes: n}
		s.try(&t, s.uncut(n))
		trials = append(trials, t)
	}
	if chosen := fewest(trials); chosen != nil {
		return s.planned(chosen, trials), nil
	}
	fixed := s.VisionReplicas > 0 && s.LanguageReplicas > 0
	if fixed || misfit(trials) != nil || !s.fitsSomewhere() {
		for i := range trials {
			s.try(&trials[i], s.cuts(trials[i].nodes))
		}
	}
	if chosen := fewest(trials); chosen != nil {
		return s.planned(chosen, trials), nil
	}
	if c := misfit(trials); c != nil {
		return Planned{}, c.doesNotFit()
	}
	return Planned{}, s.impossible()
}

// fewest returns the plan of the smallest number of nodes that is about as fast as
// the fastest; nil where nothing fits.
func fewest(trials []trial) *candidate {
	fastest := math.Inf(1)
	for _, t := range trials {
		if c := t.pick(); c != nil {
			fastest = min(fastest, c.seconds)
		}
	}
	for _, t := range trials {
		if c := t.pick(); c != nil && c.seconds <= tolerance*fastest {
			return c
		}
	}
	return nil
}

// misfit returns the candidate that misses the fewest bytes.
func misfit(trials []trial) *candidate {
	var out *candidate
	for _, t := range trials {
		for _, c := range t.best {
			if c != nil && len(c.short) > 0 && (out == nil || c.missing < out.missing) {
				out = c
			}
		}
	}
	return out
}

// fitsSomewhere reports whether every tower fits the node with most memory, with
// every other node a replica.
func (s *system) fitsSomewhere() bool {
	var most int64
	for _, n := range s.nodes {
		most = max(most, n.Memory)
	}
	for t := range s.Profile.Towers {
		if headroom*s.pieceNeeds([]segment{{tower: t, hi: s.blocks(t)}}, 1, 1) > float64(most) {
			return false
		}
	}
	return true
}

func (c *candidate) doesNotFit() error {
	e := &DoesNotFit{Missing: c.short}
	for _, x := range c.short {
		if e.Node == "" || x.Needs-x.Free > e.Needs-e.Free {
			e.Node, e.Needs, e.Free, e.What = x.Node, x.Needs, x.Free, x.What
		}
	}
	return e
}

// impossible says why there is no way at all to use the nodes as asked.
func (s *system) impossible() error {
	n, towers := s.Want, len(s.Profile.Towers)
	switch v, l := s.VisionReplicas, s.LanguageReplicas; {
	case n > towers*s.Microbatches:
		return fmt.Errorf("%w: %d nodes are wanted, but %d microbatches in %s are work for %d at most", ErrImpossible, n, s.Microbatches, towerCount(towers), towers*s.Microbatches)
	case v+l > 0 && n > 0:
		return fmt.Errorf("%w: %s leave no role for each of %d nodes", ErrImpossible, replicasAsked(v, l), n)
	case v+l > 0:
		return fmt.Errorf("%w: %s cannot be placed on %d nodes", ErrImpossible, replicasAsked(v, l), len(s.nodes))
	}
	return fmt.Errorf("%w: %d nodes for %d microbatches in %s", ErrImpossible, n, s.Microbatches, towerCount(towers))
}

func towerCount(n int) string {
	if n == 1 {
		return "one tower"
	}
	return "two towers"
}

func replicasAsked(v, l int) string {
	switch {
	case v == 0:
		return fmt.Sprintf("%d language replicas", l)
	case l == 0:
		return fmt.Sprintf("%d vision replicas", v)
	}
	return fmt.Sprintf("%d vision and %d language replicas", v, l)
}
