package shard

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// planned turns the chosen candidate into the answer.
func (s *system) planned(chosen *candidate, trials []trial) Planned {
	chosen.settle()
	p := Planned{Plan: chosen.plan, StepSeconds: chosen.seconds}
	for w, n := range chosen.nodes {
		m := Memory{Node: n.Name, Needs: chosen.needs[w], Free: n.Memory, Roles: chosen.roles(w), Layers: chosen.layers(w)}
		p.Memory = append(p.Memory, m)
	}
	p.Explanation = append(p.Explanation, fmt.Sprintf("%s: a step of %s takes %s by the cost model", chosen.headline(), count(s.Microbatches, "microbatch"), Seconds(chosen.seconds)))
	for w := range chosen.nodes {
		if w == mostWorkers {
			p.Explanation = append(p.Explanation, fmt.Sprintf("%s more have the same parts for other microbatches", count(len(chosen.nodes)-w, "worker")))
			break
		}
		p.Explanation = append(p.Explanation, chosen.worker(w))
	}
	p.Explanation = append(p.Explanation, chosen.exchanges()...)
	p.Explanation = append(p.Explanation, s.alternatives(chosen, trials)...)
	if s.unmeasured {
		p.Explanation = append(p.Explanation, "speed or bandwidth of some nodes was not measured and is assumed")
	}
	return p
}

// headline says how the towers are spread.
func (c *candidate) headline() string {
	n := len(c.nodes)
	cut := len(c.segments) > len(c.sys.Profile.Towers)
	switch {
	case n == 1:
		return "everything on node " + c.nodes[0].Name
	case c.kind == apart && !cut:
		return fmt.Sprintf("the vision tower on %s, the language tower on %s", c.names(c.plan.Stages[0]), c.names(c.plan.Stages[1]))
	case c.kind == together && len(c.sys.Profile.Towers) == 2:
		return fmt.Sprintf("both towers on each of %d nodes", n)
	case c.kind == together:
		return fmt.Sprintf("the %s tower on each of %d nodes", c.plan.Stages[0].Tower, n)
	case cut:
		var stages []string
		for i, st := range c.plan.Stages {
			stages = append(stages, fmt.Sprintf("%s on %s", c.sys.segmentName(c.segments[i]), c.names(st)))
		}
		return "stages: " + strings.Join(stages, ", ")
	}
	return fmt.Sprintf("overlapping, the vision tower on %s, the language tower on %s", c.names(c.plan.Stages[0]), c.names(c.plan.Stages[1]))
}

func (c *candidate) names(st Stage) string {
	var out []string
	for _, w := range st.Workers {
		out = append(out, c.nodes[w].Name)
	}
	if len(out) > 6 {
		return fmt.Sprintf("%s, … (%d nodes)", strings.Join(out[:5], ", "), len(out))
	}
	if len(out) > 1 {
		return strings.Join(out[:len(out)-1], ", ") + " and " + out[len(out)-1]
	}
	return out[0]
}

// segmentName names a tower or the blocks of it.
func (s *system) segmentName(g segment) string {
	t := s.Profile.Towers[g.tower]
	if g.lo == 0 && g.hi == len(t.Blocks) {
		return "the " + t.Role + " tower"
	}
	return fmt.Sprintf("%s blocks %d–%d of %d", t.Role, g.lo, g.hi-1, len(t.Blocks))
}

// worker says what worker w does and what it costs.
func (c *candidate) worker(w int) string {
	var does []string
	var busy float64
	for i, st := range c.plan.Stages {
		if !slices.Contains(st.Workers, w) {
			continue
		}
		x := c.rangeOf(i, w)
		lo, hi := x.lo, x.hi
		busy += float64(hi-lo) * (c.loads[i].forward + c.loads[i].backward) / c.nodes[w].Speed
		part := fmt.Sprintf("microbatches %d–%d", lo, hi-1)
		if hi-lo == 1 {
			part = fmt.Sprintf("microbatch %d", lo)
		}
		does = append(does, fmt.Sprintf("%s for %s", c.sys.segmentName(c.segments[i]), part))
	}
	return fmt.Sprintf("worker %d on node %s: %s; computes %s of a step (%.0f %%), sends %s, keeps %s in flight, needs %s of %s",
		w, c.nodes[w].Name, strings.Join(does, ", "), Seconds(busy), 100*busy/max(c.seconds, math.SmallestNonzeroFloat64), Bytes(int64(c.traffic[w])),
		count(c.plan.InFlight[w], "microbatch"), Bytes(c.needs[w]), Bytes(c.nodes[w].Memory))
}

// exchanges says what crosses between stages and among replicas.
func (c *candidate) exchanges() []string {
	var out []string
	for i, st := range c.plan.Stages {
		if i+1 < len(c.plan.Stages) && !slices.Equal(st.Workers, c.plan.Stages[i+1].Workers) {
			wire := FP32
			if c.tower(i) != c.tower(i+1) && c.sys.wire == 2 {
				wire = BF16
			}
			out = append(out, fmt.Sprintf("from %s to %s go %s a microbatch, and %s come back, in %s", c.sys.segmentName(c.segments[i]),
				c.sys.segmentName(c.segments[i+1]), Bytes(int64(c.edges[i].forward)), Bytes(int64(c.edges[i].gradient)), wire))
		}
		if len(st.Workers) > 1 && c.loads[i].exchanged > 0 {
			out = append(out, fmt.Sprintf("%s of %s exchange gradients of %s in %s", count(len(st.Workers), "replica"), c.sys.segmentName(c.segments[i]),
				Bytes(int64(c.loads[i].exchanged*c.sys.wire)), Seconds(c.reducing[i])))
		}
	}
	return out
}

// What an explanation lists at most: workers, and numbers of nodes that were not
// chosen.
const (
	mostWorkers      = 16
	mostAlternatives = 6
)

// alternatives says what else was considered and why it lost: on as many nodes,
// and on the nearest other numbers of them.
func (s *system) alternatives(chosen *candidate, trials []trial) []string {
	n := len(chosen.nodes)
	var out []string
	var others []trial
	for _, t := range trials {
		if t.nodes != n {
			others = append(others, t)
			continue
		}
		for _, c := range t.best {
			if c != nil && c != chosen {
				out = append(out, "instead, "+c.headline()+": "+against(chosen, c))
			}
		}
	}
	slices.SortStableFunc(others, func(a, b trial) int { return distance(a.nodes, n) - distance(b.nodes, n) })
	left := max(0, len(others)-mostAlternatives)
	others = others[:len(others)-left]
	slices.SortFunc(others, func(a, b trial) int { return a.nodes - b.nodes })
	for _, t := range others {
		c := t.pick()
		if c == nil {
			c = misfit([]trial{t})
		}
		if c == nil {
			out = append(out, "on "+count(t.nodes, "node")+": no way to give each of them a role")
			continue
		}
		out = append(out, "on "+count(t.nodes, "node")+", "+c.headline()+": "+against(chosen, c))
	}
	if left > 0 {
		out = append(out, fmt.Sprintf("%d more numbers of nodes were considered", left))
	}
	return out
}

func distance(a, b int) int { return max(a-b, b-a) }

// against says why c lost.
func against(chosen, c *candidate) string {
	if len(c.short) > 0 {
		x := c.short[0]
		return fmt.Sprintf("does not fit, node %s would need %s for %s and has %s", x.Node, Bytes(x.Needs), x.What, Bytes(x.Free))
	}
	change := 100 * (c.seconds/chosen.seconds - 1)
	switch {
	case change >= 0.5:
		return fmt.Sprintf("%s, %.0f %% longer", Seconds(c.seconds), change)
	case len(c.nodes) > len(chosen.nodes):
		return fmt.Sprintf("%s, which is not worth %s more", Seconds(c.seconds), count(len(c.nodes)-len(chosen.nodes), "node"))
	case c.kind > chosen.kind:
		return fmt.Sprintf("%s, so little faster that towers are kept on nodes of their own", Seconds(c.seconds))
	}
	return fmt.Sprintf("%s, no faster", Seconds(c.seconds))
}

// roles are the roles of worker w in words.
func (c *candidate) roles(w int) string {
	var out []string
	for _, r := range c.plan.Roles(w) {
		out = append(out, fmt.Sprintf("%s stage %d replica %d", r.Tower, r.Stage, r.Replica))
	}
	return strings.Join(out, ", ")
}

// layers are the blocks that worker w holds in words.
func (c *candidate) layers(w int) string {
	var out []string
	for _, st := range c.plan.Stages {
		if slices.Contains(st.Workers, w) {
			out = append(out, fmt.Sprintf("%s blocks %d–%d", st.Tower, st.Lo, st.Hi-1))
		}
	}
	return strings.Join(out, ", ")
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if strings.HasSuffix(thing, "ch") {
		return fmt.Sprintf("%d %ses", n, thing)
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Seconds writes a duration with three digits.
func Seconds(t float64) string {
	switch {
	case t >= 100:
		return fmt.Sprintf("%.0f s", t)
	case t >= 1:
		return fmt.Sprintf("%.3g s", t)
	case t >= 1e-3:
		return fmt.Sprintf("%.3g ms", 1e3*t)
	}
	return fmt.Sprintf("%.3g µs", 1e6*t)
}
