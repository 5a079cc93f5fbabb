package schedule

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"
	"strings"

	"ressa/coordinator/state"
	"ressa/shard"
)

// mixed is the numeric kind of a relaxed job whose nodes are of several.
const mixed = "mixed"

// pool is a set of nodes that jobs may be placed on. What it works out for one job
// it keeps for the next: a queue asks the same of it hundreds of times.
type pool struct {
	nodes  []*state.Node // by name
	groups map[poolKey][]*group
}

type poolKey struct {
	strict  bool
	kind    string // that a strict job began on; empty for any
	compute string // see api.Inspection
}

func newPool(nodes ...*state.Node) *pool {
	slices.SortFunc(nodes, byName)
	return &pool{nodes: nodes, groups: map[poolKey][]*group{}}
}

func byName(a, b *state.Node) int { return strings.Compare(a.Info.Name, b.Info.Name) }

// group is what a plan may be chosen from: nodes of one numeric kind, or all of
// them for a relaxed job.
type group struct {
	kind   string
	nodes  []offered // by name
	speed  float64   // of all
	offers map[offerKey]*offer
}

// offered is a node and what it would compute on.
type offered struct {
	*state.Node
	device, kind string
	speed        float64
	memory       int64
	apart        bool
	stream       int64
}

// of sorts the pool's nodes by what kinds they can run a job on; the group that is
// fastest together comes first, of equal ones the largest: a GPU before many
// processors.
func (p *pool) of(j *state.Job) []*group {
	key := poolKey{strict: j.Inspection.Strict, compute: j.Inspection.Compute}
	if key.strict {
		key.kind = j.Kind
	}
	if g, ok := p.groups[key]; ok {
		return g
	}
	byKind := map[string]*group{}
	for _, n := range p.nodes {
		seen := map[string]bool{}
		for _, dev := range n.Info.Devices {
			kind := dev.Kind
			if !key.strict {
				kind = mixed
			}
			if dev.Kind == "" || dev.Compute != key.compute || seen[kind] || key.kind != "" && key.kind != kind {
				continue
			}
			seen[kind] = true
			g := byKind[kind]
			if g == nil {
				g = &group{kind: kind, offers: map[offerKey]*offer{}}
				byKind[kind] = g
			}
			g.nodes = append(g.nodes, offered{n, dev.Name, dev.Kind, dev.Speed, dev.Memory, dev.Apart, dev.Stream})
			g.speed += dev.Speed
		}
	}
	out := make([]*group, 0, len(byKind))
	for _, g := range byKind {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.speed, a.speed), cmp.Compare(len(b.nodes), len(a.nodes)), strings.Compare(a.kind, b.kind))
	})
	p.groups[key] = out
	return out
}

type offerKey struct {
	most  int
	chief string
}

// offer is what the planner is shown of a group.
type offer struct {
	nodes []offered // by name
	asked []shard.Node
	sum   uint64 // of asked
}

// offer returns at most so many nodes of the group: those of own, the last chief,
// then the fastest.
func (g *group) offer(most int, chief string, own map[string]bool) *offer {
	key := offerKey{most, chief}
	if o := g.offers[key]; o != nil && len(own) == 0 {
		return o
	}
	nodes := slices.Clone(g.nodes)
	if len(nodes) > most {
		rank := func(n offered) int {
			switch {
			case own[n.Info.Name]:
				return 0
			case n.Info.Name == chief:
				return 1
			}
			return 2
		}
		slices.SortStableFunc(nodes, func(a, b offered) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.speed, a.speed)) })
		nodes = nodes[:most]
		slices.SortFunc(nodes, func(a, b offered) int { return byName(a.Node, b.Node) })
	}
	o := &offer{nodes: nodes}
	h := fnv.New64a()
	var b []byte
	for _, n := range nodes {
		// The planner takes one kind; that a relaxed job may mix them was decided here.
		s := shard.Node{Name: n.Info.Name, Kind: g.kind, Speed: n.speed, Memory: n.memory, Apart: n.apart, Stream: n.stream, Bandwidth: n.Info.Bandwidth, Latency: n.Info.Latency}
		o.asked = append(o.asked, s)
		b = append(append(b[:0], s.Name...), 0)
		apart := 0.0
		if s.Apart {
			apart = 1
		}
		for _, f := range []float64{s.Speed, float64(s.Memory), apart, float64(s.Stream), s.Bandwidth, s.Latency} {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
		}
		h.Write(b)
	}
	o.sum = h.Sum64()
	if len(own) == 0 {
		g.offers[key] = o
	}
	return o
}

// node returns a node of the offer; nil if it is not in it.
func (o *offer) node(name string) *offered {
	i, ok := slices.BinarySearchFunc(o.nodes, name, func(n offered, s string) int { return strings.Compare(n.Info.Name, s) })
	if !ok {
		return nil
	}
	return &o.nodes[i]
}
