package shard

import (
	"math"
	"math/bits"
	"sort"
)

// cut cuts towers into as many pieces as there are groups of nodes, contiguous
// ranges of blocks in the order of the graph, so that the piece that takes longest
// takes as little as can be within the memory of its nodes; where nothing fits,
// so that the fullest is overfull by as little as can be. Each group holds one
// piece, a replica on each of its nodes. inFlight says how many microbatches of a
// piece must fit. It returns nil when there are fewer blocks than groups.
func (s *system) cut(towers []int, groups [][]int, inFlight func(piece int) int) []segment {
	units := s.units(towers)
	if len(units) < len(groups) {
		return nil
	}
	free, speed := make([]float64, len(groups)), make([]float64, len(groups))
	for g, nodes := range groups {
		free[g] = math.Inf(1)
		for _, n := range nodes {
			free[g] = min(free[g], float64(s.nodes[n].Memory))
			speed[g] += s.nodes[n].Speed
		}
	}
	fullness := func(g, u, v int) float64 {
		need := headroom * s.pieceNeeds(join(units[u:v]), len(groups[g]), inFlight(g))
		return need / max(free[g], 1)
	}
	seconds := func(g, u, v int) float64 {
		if fullness(g, u, v) > 1 {
			return math.Inf(1)
		}
		var flops float64
		for _, p := range join(units[u:v]) {
			l := s.bulk(p.tower, p.lo, p.hi)
			flops += l.forward + l.backward
		}
		return flops / speed[g]
	}
	ends := balance(len(units), len(groups), seconds)
	if ends == nil {
		ends = balance(len(units), len(groups), fullness)
	}
	var out []segment
	from := 0
	for g, to := range ends {
		for _, p := range join(units[from:to]) {
			p.nodes = groups[g]
			out = append(out, p)
		}
		from = to
	}
	return out
}

// units returns what must stay together: blocks, or a tower that cannot be cut.
func (s *system) units(towers []int) []segment {
	var out []segment
	for _, t := range towers {
		if s.Profile.Towers[t].Whole {
			out = append(out, segment{tower: t, hi: s.blocks(t)})
			continue
		}
		for b := range s.blocks(t) {
			out = append(out, segment{tower: t, lo: b, hi: b + 1})
		}
	}
	return out
}

// join merges neighbouring units of a tower.
func join(units []segment) []segment {
	var out []segment
	for _, u := range units {
		if n := len(out); n > 0 && out[n-1].tower == u.tower {
			out[n-1].hi = u.hi
			continue
		}
		out = append(out, u)
	}
	return out
}

// pieceNeeds estimates the bytes that a worker needs for a piece, from above where
// blocks differ in scratch memory; sums of gradients depend on the owners that are
// chosen later.
func (s *system) pieceNeeds(piece []segment, replicas, inFlight int) float64 {
	sums := min(bits.Len(uint(s.Microbatches)), (s.Microbatches+replicas-1)/replicas)
	sent := 0
	if replicas > 1 {
		sent = 1
	}
	var first, total, scratch float64
	for _, p := range piece {
		l := s.bulk(p.tower, p.lo, p.hi)
		scratch = max(scratch, l.scratch)
		l.scratch = 0
		var in edge
		if p.lo > 0 {
			in = s.edgeAfter(p.tower, p.lo)
		} else if p.tower > 0 {
			in = s.edgeAfter(p.tower-1, s.blocks(p.tower-1))
		}
		first += s.opening(p.tower, l)
		total += s.holding(p.tower, l, sums, sent, s.apart) + float64(inFlight)*passing(l, in, s.edgeAfter(p.tower, p.hi))
	}
	return max(first, total+float64(inFlight)*scratch)
}

// balance cuts n units into runs of at least one so that the highest measure of a
// run is as low as can be, and returns their ends; nil where it is infinite in any
// way of cutting. A measure grows with its run.
func balance(n, runs int, measure func(run, from, to int) float64) []int {
	try := func(bound float64) []int {
		within := func(g, from int) int { // the furthest end of run g
			most := n - (runs - 1 - g) // leaves one unit for each run behind
			return from + sort.Search(max(0, most-from), func(k int) bool { return measure(g, from, from+k+1) > bound })
		}
		if ends := greedy(n, runs, within); ends != nil || n*runs > mostReached {
			return ends
		}
		return reach(n, runs, within)
	}
	best := try(math.MaxFloat64)
	if best == nil {
		return nil
	}
	worst := func(ends []int) (most float64) {
		from := 0
		for g, to := range ends {
			most = max(most, measure(g, from, to))
			from = to
		}
		return most
	}
	low, high := 0.0, worst(best)
	for range 40 {
		mid := low + (high-low)/2
		if ends := try(mid); ends != nil {
			best, high = ends, mid
		} else {
			low = mid
		}
	}
	return best
}

// greedy gives every run as much as it can take. That finds a way where there is
// one, but for runs so small that they can take one unit and not the next.
func greedy(n, runs int, within func(run, from int) int) []int {
	ends, from := make([]int, runs), 0
	for g := range runs {
		to := within(g, from)
		if to == from {
			return nil
		}
		ends[g], from = to, to
	}
	if from < n {
		return nil
	}
	return ends
}

// mostReached bounds the product of units and runs for which every way is tried.
const mostReached = 1024

// reach finds a way where there is one: it notes all ends that each run can have.
func reach(n, runs int, within func(run, from int) int) []int {
	begins := make([][]int, runs+1) // by run before and its end: where that run begins; -1 for none
	for g := range begins {
		begins[g] = make([]int, n+1)
		for i := range begins[g] {
			begins[g][i] = -1
		}
	}
	begins[0][0] = 0
	for g := range runs {
		for from := range n {
			if begins[g][from] < 0 {
				continue
			}
			last := within(g, from)
			for to := from + 1; to <= last; to++ {
				begins[g+1][to] = from
			}
		}
	}
	if begins[runs][n] < 0 {
		return nil
	}
	ends, at := make([]int, runs), n
	for g := runs; g > 0; g-- {
		ends[g-1] = at
		at = begins[g][at]
	}
	return ends
}
