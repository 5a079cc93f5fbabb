package shard

import (
	"math"
	"slices"
)

// What is assumed of a node that was not measured: ten-gigabit Ethernet inside a
// rack, and a processor of a few cores.
const (
	assumedBandwidth = 1.25e9 // bytes/s
	assumedLatency   = 2e-4   // seconds
	assumedSpeed     = 1e11   // flop/s, where no node of the request was measured
)

// updateFlops is what the update of one trained element costs: its square, the
// sum of the norm and AdamW, with a division and a root.
const updateFlops = 40

// system is a request made ready: sums over blocks and completed nodes.
type system struct {
	Request
	nodes []Node // by name, figures filled in
	wire  float64
	sums  [][]load // by tower: the loads of blocks [0, i)
	// apart says that all devices have memory of their own; a relaxed job may mix them.
	apart bool
	// unmeasured says that figures of some node were assumed.
	unmeasured bool
}

// load is what a range of blocks costs. Bytes and elements are floats: sums of
// hostile profiles must not wrap around.
type load struct {
	forward, backward    float64 // flops of a microbatch, all flows
	weights, trained     float64 // bytes, elements
	exchanged            float64 // trained elements that masks keep
	loading              float64 // bytes that weights take more before training
	activations, scratch float64 // bytes of a microbatch: kept, and the most beside
}

func (a load) plus(b load) load {
	return load{a.forward + b.forward, a.backward + b.backward, a.weights + b.weights, a.trained + b.trained, a.exchanged + b.exchanged, a.loading + b.loading,
		a.activations + b.activations, max(a.scratch, b.scratch)}
}

func newSystem(r Request, nodes []Node) *system {
	s := &system{Request: r, nodes: nodes, wire: 4, apart: len(nodes) > 0 && !slices.ContainsFunc(nodes, func(n Node) bool { return !n.Apart })}
	if r.Wire == BF16 {
		s.wire = 2
	}
	s.complete()
	for _, t := range r.Profile.Towers {
		sums := []load{{}}
		for _, b := range t.Blocks {
			sums = append(sums, sums[len(sums)-1].plus(load{float64(t.Flows) * b.Forward, b.Backward, float64(b.Weights), float64(b.Trained),
				float64(b.Trained - b.Dropped), float64(b.Loading), float64(b.Activations), float64(b.Scratch)}))
		}
		s.sums = append(s.sums, sums)
	}
	return s
}

// complete fills in what was not measured: the slowest measured speed, and a
// usual network.
func (s *system) complete() {
	slowest := math.Inf(1)
	for _, n := range s.nodes {
		if n.Speed > 0 {
			slowest = min(slowest, n.Speed)
		}
	}
	if math.IsInf(slowest, 1) {
		slowest = assumedSpeed
	}
	for i := range s.nodes {
		n := &s.nodes[i]
		s.unmeasured = s.unmeasured || !(n.Speed > 0 && n.Bandwidth > 0)
		if !(n.Speed > 0) {
			n.Speed = slowest
		}
		if !(n.Bandwidth > 0) {
			n.Bandwidth = assumedBandwidth
			if !(n.Latency > 0) {
				n.Latency = assumedLatency
			}
		}
	}
}

// bulk returns what blocks [lo, hi) of a tower cost, with the scratch memory of
// the hungriest block up to hi.
func (s *system) bulk(tower, lo, hi int) load {
	a, b := s.sums[tower][lo], s.sums[tower][hi]
	return load{b.forward - a.forward, b.backward - a.backward, b.weights - a.weights, b.trained - a.trained, b.exchanged - a.exchanged, b.loading - a.loading,
		b.activations - a.activations, b.scratch}
}

// load returns what blocks [lo, hi) of a tower cost.
func (s *system) load(tower, lo, hi int) load {
	out := s.bulk(tower, lo, hi)
	out.scratch = 0
	for _, k := range s.Profile.Towers[tower].Blocks[lo:hi] {
		out.scratch = max(out.scratch, float64(k.Scratch))
	}
	return out
}

// whole returns what a tower costs.
func (s *system) whole(tower int) load { return s.load(tower, 0, s.blocks(tower)) }

func (s *system) blocks(tower int) int { return len(s.Profile.Towers[tower].Blocks) }

// edge is what passes from one stage to the next, in bytes a microbatch.
type edge struct {
	forward, gradient float64 // on the wire
	kept              float64 // in memory at either end, in fp32: all flows and the gradient
}

// edgeAfter returns what passes out of blocks that end at block hi of a tower.
// Cuts inside a tower carry fp32 whatever the wire: the residual stream is not
// rounded there, or bits would depend on where a tower is cut.
func (s *system) edgeAfter(tower, hi int) edge {
	t := s.Profile.Towers[tower]
	bytes, flows, wire := float64(t.HiddenBytes), float64(t.Flows), 1.0
	if hi == len(t.Blocks) {
		if tower+1 == len(s.Profile.Towers) {
			return edge{}
		}
		bytes, flows, wire = float64(s.Profile.CutBytes), float64(s.Profile.Flows), s.wire/4
	}
	e := edge{forward: bytes * flows * wire, kept: bytes * flows}
	if s.trainedBefore(tower, hi) {
		e.gradient = bytes * wire
		e.kept += bytes
	}
	return e
}

// trainedBefore reports whether anything upstream of block i of a tower is
// trained, so that a gradient goes back there.
func (s *system) trainedBefore(tower, i int) bool {
	n := s.sums[tower][i].trained
	for t := range tower {
		n += s.sums[t][s.blocks(t)].trained
	}
	return n > 0
}

// allReduce returns the seconds in which the replicas of a stage exchange a vector
// of elements, and the bytes that each sends. Every replica owns one share
// of the vector: it gets that share of each other replica's partial sums, one for
// each maximal sub-tree, and returns the total. Ranges of microbatches that are
// whole sub-trees make it 2(R-1)/R of the vector out and in.
func (s *system) allReduce(elements float64, ranges []span, nodes []Node) (seconds float64, sent []float64) {
	r := len(ranges)
	sent = make([]float64, r)
	if r < 2 || elements == 0 {
		return 0, sent
	}
	share, all := elements*s.wire/float64(r), 0
	own := make([]int, r)
	for i, x := range ranges {
		own[i] = parts(s.Microbatches, x.lo, x.hi)
		all += own[i]
	}
	for i, n := range nodes {
		others := float64(r - 1)
		sent[i] = share * others * float64(own[i]+1)
		received := share * (float64(all-own[i]) + others)
		seconds = max(seconds, max(sent[i], received)/n.Bandwidth+2*n.Latency)
	}
	return seconds, sent
}
