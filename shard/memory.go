package shard

import (
	"math"
	"math/bits"
	"slices"
)

// headroom is what is added to every need: size classes of recycled memory, and
// what kernels allocate for themselves.
const headroom = 1.05

// Bytes of a trained element beside its gradients: value and two moments.
const stateBytes = 12

// occupancy is what a worker needs of its node's memory, as a function of the
// microbatches in flight.
type occupancy struct {
	first   float64 // bytes before training
	fixed   float64 // bytes whatever is in flight
	each    float64 // bytes for each microbatch in flight
	streams int     // of work, beside one for each microbatch in flight
	stream  float64 // bytes of each
}

// idleStreams are those of a worker that trains beside its lanes: of the sums of
// gradients, and of work before training.
const idleStreams = 2

// at returns the bytes with k microbatches in flight.
func (o occupancy) at(k int) int64 {
	bytes := max(headroom*o.first+o.stream, headroom*(o.fixed+float64(k)*o.each)+float64(k+o.streams)*o.stream)
	if bytes >= math.MaxInt64/2 {
		return math.MaxInt64 / 2
	}
	return int64(math.Ceil(bytes))
}

// holding returns what a worker that trains needs of memory for good that holds
// blocks with a load. sums is how many partial sums of gradients it holds at a time,
// sent how many it exchanges with replicas (0 without): those are copied to the host,
// with the total, which counts where its device's memory is not apart.
func (s *system) holding(tower int, l load, sums, sent int, apart bool) float64 {
	vectors := float64(sums)
	if sent > 0 && !apart {
		vectors += float64(sent + 2)
	}
	state := stateBytes
	if s.Profile.Kept {
		state *= 2
	}
	return l.weights + float64(s.Profile.Towers[tower].Fixed) + l.trained*(float64(state)+4*vectors)
}

// opening returns what it needs before it trains.
func (s *system) opening(tower int, l load) float64 {
	return l.weights + l.loading + float64(s.Profile.Towers[tower].Fixed)
}

// passing returns what one microbatch in flight needs of memory: activations, the
// edges at both ends, scratch memory and a gradient.
func passing(l load, in, out edge) float64 {
	return l.activations + in.kept + out.kept + l.scratch + 4*l.trained
}

// InFlight returns what a worker needs for each microbatch in flight under a plan,
// beside its gradient: activations, edges and scratch memory.
func InFlight(p Profile, plan Plan, worker int) int64 {
	s := newSystem(Request{Profile: p, Microbatches: plan.Microbatches}, nil)
	var bytes, scratch float64
	for i, st := range plan.Stages {
		tower := slices.IndexFunc(p.Towers, func(t Tower) bool { return t.Role == st.Tower })
		if tower < 0 || !slices.Contains(st.Workers, worker) {
			continue
		}
		l := s.load(tower, st.Lo, st.Hi)
		scratch = max(scratch, l.scratch)
		bytes += l.activations + s.edgeAfter(tower, st.Hi).kept
		if i > 0 && !slices.Contains(plan.Stages[i-1].Workers, worker) {
			before := slices.IndexFunc(p.Towers, func(t Tower) bool { return t.Role == plan.Stages[i-1].Tower })
			bytes += s.edgeAfter(before, plan.Stages[i-1].Hi).kept
		}
	}
	return int64(bytes + scratch)
}

// occupancies returns what each worker of a candidate needs.
func (c *candidate) occupancies() []occupancy {
	out := make([]occupancy, len(c.nodes))
	for i, st := range c.plan.Stages {
		sums := c.held(i)
		for r, w := range st.Workers {
			sent := 0
			if len(st.Workers) > 1 {
				sent = parts(c.plan.Microbatches, c.ranges[i][r].lo, c.ranges[i][r].hi)
			}
			out[w].first += c.sys.opening(c.tower(i), c.loads[i])
			out[w].fixed += c.sys.holding(c.tower(i), c.loads[i], sums[r], sent, c.nodes[w].Apart)
			out[w].streams, out[w].stream = idleStreams, float64(c.nodes[w].Stream)
		}
	}
	c.buddies(out)
	// Owners change where a range begins: between, every microbatch is alike.
	for _, ranges := range c.ranges {
		for _, x := range ranges {
			c.microbatch(x.lo, out)
		}
	}
	return out
}

// buddies adds what the worker behind one that holds a stage alone keeps of it, where
// state is kept: what is trained as it was after the last step and the one before, and
// a gradient.
func (c *candidate) buddies(out []occupancy) {
	if !c.sys.Profile.Kept || len(c.nodes) < 2 {
		return
	}
	for i, st := range c.plan.Stages {
		if len(st.Workers) == 1 {
			o := &out[(st.Workers[0]+1)%len(c.nodes)]
			o.fixed += c.loads[i].trained * (2*stateBytes + 4)
			o.streams++
		}
	}
}

// microbatch raises what workers need for each microbatch to what m needs.
func (c *candidate) microbatch(m int, out []occupancy) {
	each, scratch, on := map[int]float64{}, map[int]float64{}, make([]int, len(c.plan.Stages))
	for i := range c.plan.Stages {
		w := c.owner(i, m)
		on[i] = w
		l := c.loads[i]
		scratch[w] = max(scratch[w], l.scratch)
		l.scratch = 0
		var in edge
		if i > 0 && on[i-1] != w {
			in = c.edges[i-1]
		}
		each[w] += passing(l, in, c.edges[i])
	}
	for _, w := range on {
		out[w].each = max(out[w].each, each[w]+scratch[w])
	}
}

// held returns by replica of a stage how many partial sums it holds at most.
func (c *candidate) held(stage int) []int {
	st := c.plan.Stages[stage]
	out := make([]int, len(st.Workers))
	if c.order == nil {
		// The replicas of the widest stage take turns: a worker of this one goes through
		// the ranges of some of them at once, each in ascending order.
		widest := 0
		for _, other := range c.plan.Stages {
			widest = max(widest, len(other.Workers))
		}
		turns := (widest-1)/len(st.Workers) + 1
		for r, x := range c.ranges[stage] {
			out[r] = min(x.len(), 2*bits.Len(uint(c.plan.Microbatches))*(turns+1))
		}
		return out
	}
	own := make([][]int, len(c.nodes))
	for _, m := range c.order {
		own[st.Owners[m]] = append(own[st.Owners[m]], m)
	}
	for r, w := range st.Workers {
		out[r] = mostHeld(c.plan.Microbatches, own[w])
	}
	return out
}
