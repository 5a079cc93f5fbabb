package shard

import (
	"math"
	"slices"
	"sort"
	"strings"
)

// segment is a stage with the nodes that hold it, by index in system.nodes.
type segment struct {
	tower, lo, hi int
	nodes         []int
}

// kind says how a plan spreads the towers.
type kind int

// Kinds in the order of preference where they are as fast: towers on nodes of
// their own need the least memory and leave most room for larger models.
const (
	apart    kind = iota // no worker holds both towers
	mixed                // some workers hold both
	together             // all workers hold the same towers
)

// candidate is a plan with its cost.
type candidate struct {
	sys      *system
	segments []segment
	kind     kind
	plan     Plan
	nodes    []Node   // by worker
	loads    []load   // by stage
	edges    []edge   // by stage: what passes out of it
	ranges   [][]span // by stage and replica
	order    []int    // plan.Order; nil, as Owners are, where there are too many microbatches to count sums
	seconds  float64
	needs    []int64 // by worker
	short    []Shortfall
	missing  int64 // bytes over all shortfalls
	traffic  []float64
	reducing []float64 // seconds of the exchange of gradients, by stage
}

func (c *candidate) tower(stage int) int { return c.segments[stage].tower }

// evaluate makes a candidate of segments in the order of the graph.
func (s *system) evaluate(segments []segment) *candidate {
	c := &candidate{sys: s, segments: segments}
	c.place()
	for _, g := range segments {
		c.loads = append(c.loads, s.load(g.tower, g.lo, g.hi))
		c.edges = append(c.edges, s.edgeAfter(g.tower, g.hi))
	}
	if s.Microbatches <= exactHeld {
		c.settle()
		c.order = c.plan.Order()
	}
	occupied := c.occupancies()
	c.shortfalls(occupied)
	if len(c.short) > 0 {
		c.seconds = math.Inf(1)
		return c
	}
	c.fly(occupied)
	return c
}

// place numbers the workers, the chief first and then in the order of the graph,
// and gives every microbatch its owners.
func (c *candidate) place() {
	s := c.sys
	var used []int
	for _, g := range c.segments {
		for _, n := range g.nodes {
			if !slices.Contains(used, n) {
				used = append(used, n)
			}
		}
	}
	for i, n := range used {
		if s.nodes[n].Name == s.Chief {
			used = slices.Insert(slices.Delete(used, i, i+1), 0, n)
			break
		}
	}
	c.plan.Microbatches = s.Microbatches
	for _, n := range used {
		c.plan.Nodes = append(c.plan.Nodes, s.nodes[n].Name)
		c.nodes = append(c.nodes, s.nodes[n])
	}
	index := map[int]int{}
	for i, g := range c.segments {
		if i > 0 && c.segments[i-1].tower != g.tower {
			index[g.tower] = 0
		}
		st := Stage{Tower: s.Profile.Towers[g.tower].Role, Index: index[g.tower], Lo: g.lo, Hi: g.hi}
		index[g.tower]++
		for _, n := range g.nodes {
			st.Workers = append(st.Workers, slices.Index(used, n))
		}
		slices.Sort(st.Workers)
		c.plan.Stages = append(c.plan.Stages, st)
	}
	c.kind = s.spread(c.segments)
	for _, weights := range c.weights() {
		c.ranges = append(c.ranges, spans(apportion(s.Microbatches, weights)))
	}
}

// settle writes the owners into the plan.
func (c *candidate) settle() {
	for i := range c.plan.Stages {
		st := &c.plan.Stages[i]
		st.Owners = owners(st.Workers, c.ranges[i])
	}
}

// owner returns the worker that computes microbatch m of a stage.
func (c *candidate) owner(stage, m int) int {
	r := sort.Search(len(c.ranges[stage]), func(r int) bool { return c.ranges[stage][r].hi > m })
	return c.plan.Stages[stage].Workers[r]
}

// spread tells the kind of a plan of these segments.
func (s *system) spread(segments []segment) kind {
	towers := map[int]int{} // bits by node
	for _, g := range segments {
		for _, n := range g.nodes {
			towers[n] |= 1 << g.tower
		}
	}
	all := 1<<len(s.Profile.Towers) - 1
	both := 0
	for _, t := range towers {
		if t == all {
			both++
		}
	}
	switch {
	case both == 0:
		return apart
	case both == len(towers) && len(segments) == len(s.Profile.Towers):
		return together
	}
	return mixed
}

// bound returns seconds that a step on these segments takes at least: that of
// the computation of each, shared out without a rest.
func (s *system) bound(segments []segment) float64 {
	var most float64
	for _, g := range segments {
		var speed float64
		for _, n := range g.nodes {
			speed += s.nodes[n].Speed
		}
		l := s.bulk(g.tower, g.lo, g.hi)
		most = max(most, float64(s.Microbatches)*(l.forward+l.backward)/speed)
	}
	return most
}

// weights returns by stage how much of the work each of its workers should take:
// its speed, or, where two towers overlap on some workers, what it has left beside
// its other tower when all work until the same moment.
func (c *candidate) weights() [][]float64 {
	out := make([][]float64, len(c.plan.Stages))
	for i, st := range c.plan.Stages {
		for _, w := range st.Workers {
			out[i] = append(out[i], c.nodes[w].Speed)
		}
	}
	if c.kind != mixed || len(c.segments) != 2 {
		return out
	}
	var work [2]float64
	for i, g := range c.segments {
		l := c.sys.load(g.tower, g.lo, g.hi)
		work[i] = l.forward + l.backward
	}
	var speed, shared, alone float64
	both := func(w int) bool { return len(c.plan.Roles(w)) == 2 }
	for w, n := range c.nodes {
		speed += n.Speed
		switch {
		case both(w):
			shared += n.Speed
		case slices.Contains(c.plan.Stages[0].Workers, w):
			alone += n.Speed
		}
	}
	if work[0]+work[1] == 0 {
		return out
	}
	// In units of speed: what the first tower leaves to those that hold both.
	first := speed * work[0] / (work[0] + work[1])
	rest := min(max(0, first-alone)/shared, 1)
	const least = 1e-6 // of a speed: a role with no work still has a microbatch
	for i, st := range c.plan.Stages {
		for r, w := range st.Workers {
			if !both(w) {
				continue
			}
			left := rest
			if i == 1 {
				left = 1 - rest
			}
			out[i][r] *= max(left, least)
		}
	}
	return out
}

// shortfalls lists what does not fit with one microbatch in flight.
func (c *candidate) shortfalls(occupied []occupancy) {
	for w, o := range occupied {
		need, free := o.at(1), c.nodes[w].Memory
		c.needs = append(c.needs, need)
		if need <= free {
			continue
		}
		c.short = append(c.short, Shortfall{Node: c.nodes[w].Name, What: c.part(w), Needs: need, Free: free})
		if c.missing += need - free; c.missing < 0 {
			c.missing = math.MaxInt64
		}
	}
}

// fly chooses how many microbatches every worker keeps in flight: those that the
// stages behind it hold and some more, where that is faster, within its memory.
func (c *candidate) fly(occupied []occupancy) {
	c.seconds = math.Inf(1)
	for _, more := range []int{0, 1, 3} {
		flight := make([]int, len(c.nodes))
		for w, o := range occupied {
			behind, widest := c.behind(w)
			k := max(1, min(1+behind+more*widest, c.share(w)))
			for k > 1 && o.at(k) > c.nodes[w].Memory {
				k--
			}
			flight[w] = k
		}
		if c.plan.InFlight != nil && slices.Equal(flight, c.plan.InFlight) {
			break
		}
		t, traffic, reducing := c.simulate(flight)
		if t < 0.99*c.seconds {
			c.seconds, c.traffic, c.reducing, c.plan.InFlight = t, traffic, reducing, flight
		}
	}
	for w, o := range occupied {
		c.needs[w] = o.at(c.plan.InFlight[w])
	}
}

// behind returns how many microbatches of worker w others work on when each of
// them has one, and how many of those one stage has at most, at least 1.
func (c *candidate) behind(w int) (n, widest int) {
	replicas := 0 // of the first stage that w holds
	widest = 1
	for i, st := range c.plan.Stages {
		if replicas == 0 {
			if slices.Contains(st.Workers, w) {
				replicas = len(st.Workers)
			}
			continue
		}
		if slices.Equal(st.Workers, c.plan.Stages[i-1].Workers) {
			continue // on the same workers: the same microbatches
		}
		others := len(st.Workers)
		if slices.Contains(st.Workers, w) {
			others--
		}
		each := (others + replicas - 1) / replicas
		n, widest = n+each, max(widest, each)
	}
	return n, widest
}

// share returns the most microbatches that worker w owns in a stage.
func (c *candidate) share(w int) int {
	n := 0
	for i := range c.plan.Stages {
		n = max(n, c.rangeOf(i, w).len())
	}
	return n
}

// rangeOf returns the range of a stage's microbatches that w owns.
func (c *candidate) rangeOf(stage, w int) span {
	if r := slices.Index(c.plan.Stages[stage].Workers, w); r >= 0 {
		return c.ranges[stage][r]
	}
	return span{}
}

// reduction returns what the exchange of a stage's gradients takes.
func (c *candidate) reduction(stage int) (seconds float64, sent []float64) {
	var nodes []Node
	for _, w := range c.plan.Stages[stage].Workers {
		nodes = append(nodes, c.nodes[w])
	}
	return c.sys.allReduce(c.loads[stage].exchanged, c.ranges[stage], nodes)
}

// part says in words what worker w holds.
func (c *candidate) part(w int) string {
	var words []string
	for i, st := range c.plan.Stages {
		if slices.Contains(st.Workers, w) {
			words = append(words, c.sys.segmentName(c.segments[i]))
		}
	}
	return strings.Join(words, " and ")
}
