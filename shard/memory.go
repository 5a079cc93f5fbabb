package shard

import (
	"math"
	"math/bits"
)

// headroom is what is added to every need: size classes of recycled memory, and
// what kernels allocate for themselves.
const headroom = 1.05

// Bytes of a trained element beside its gradients: value and two moments.
const stateBytes = 12

// occupancy is what a worker needs of its node's memory, as a function of the
// microbatches in flight.
type occupancy struct {
	fixed float64 // bytes whatever is in flight
	each  float64 // bytes for each microbatch in flight
}

// at returns the bytes with k microbatches in flight.
func (o occupancy) at(k int) int64 {
	bytes := headroom * (o.fixed + float64(k)*o.each)
	if bytes >= math.MaxInt64/2 {
		return math.MaxInt64 / 2
	}
	return int64(math.Ceil(bytes))
}

// holding returns what a worker needs of memory for good that holds blocks with a
// load. Weights are dense, in the dtype they are stored in, with one bit a weight
// for masks: teacher and student share them. A student that holds packed non-zeros
// instead changes the profile, not this. sums is how many partial sums of gradients
// it holds at a time, sent how many it exchanges with replicas (0 without): those
// are copied to the host, with the total, and the device's memory is taken to be
// the host's.
func (s *system) holding(tower int, l load, sums, sent int) float64 {
	vectors := float64(sums)
	if sent > 0 {
		vectors += float64(sent + 2)
	}
	return l.weights + float64(s.Profile.Towers[tower].Fixed) + l.trained*(stateBytes+4*vectors)
}

// passing returns what one microbatch in flight needs of memory: activations, the
// edges at both ends, scratch memory and a gradient.
func passing(l load, in, out edge) float64 {
	return l.activations + in.kept + out.kept + l.scratch + 4*l.trained
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
			out[w].fixed += c.sys.holding(c.tower(i), c.loads[i], sums[r], sent)
		}
	}
	// Owners change where a range begins: between, every microbatch is alike.
	for _, ranges := range c.ranges {
		for _, x := range ranges {
			c.microbatch(x.lo, out)
		}
	}
	return out
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
