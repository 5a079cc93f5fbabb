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
		for _, w := range st.Workers {
			sent := 0
			if len(st.Workers) > 1 {
				lo, hi := rangeOf(st.Owners, w)
				sent = parts(len(st.Owners), lo, hi)
			}
			out[w].fixed += c.sys.holding(c.tower(i), c.loads[i], c.held(st, w), sent)
		}
	}
	// Owners change at a few places: between them every microbatch is alike.
	for m := range c.plan.Microbatches {
		if m > 0 && !slices.ContainsFunc(c.plan.Stages, func(st Stage) bool { return st.Owners[m] != st.Owners[m-1] }) {
			continue
		}
		each := make([]float64, len(c.nodes))
		scratch := make([]float64, len(c.nodes))
		for i, st := range c.plan.Stages {
			w := st.Owners[m]
			l := c.loads[i]
			scratch[w] = max(scratch[w], l.scratch)
			l.scratch = 0
			var in edge
			if i > 0 && c.plan.Stages[i-1].Owners[m] != w {
				in = c.edges[i-1]
			}
			each[w] += passing(l, in, c.edges[i])
		}
		for w := range out {
			out[w].each = max(out[w].each, each[w]+scratch[w])
		}
	}
	return out
}

// held returns how many partial sums a worker of a stage holds at most.
func (c *candidate) held(st Stage, w int) int {
	if c.order == nil {
		lo, hi := rangeOf(st.Owners, w)
		return min(hi-lo, 2*bits.Len(uint(len(st.Owners)))*len(c.nodes))
	}
	var own []int
	for _, m := range c.order {
		if st.Owners[m] == w {
			own = append(own, m)
		}
	}
	return mostHeld(len(st.Owners), own)
}

// rangeOf returns the contiguous range of microbatches that w owns.
func rangeOf(owners []int, w int) (lo, hi int) {
	lo = slices.Index(owners, w)
	if lo < 0 {
		return 0, 0
	}
	hi = lo
	for hi < len(owners) && owners[hi] == w {
		hi++
	}
	return lo, hi
}
