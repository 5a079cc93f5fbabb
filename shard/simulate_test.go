package shard

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// two is a profile of two towers of one block, which take these seconds forward
// and backward at 1 flop/ns, and trains nothing unless told so.
func two(vf, vb, lf, lb float64, trained int64, cut int64) Profile {
	tower := func(role string, f, b float64) Tower {
		return Tower{Role: role, Flows: 1, Blocks: []Block{{Forward: 1e9 * f, Backward: 1e9 * b, Trained: trained, Weights: 1, Activations: 1}}}
	}
	return Profile{Towers: []Tower{tower(Vision, vf, vb), tower(Language, lf, lb)}, CutBytes: cut, Flows: 1}
}

func nodesOf(n int, bandwidth, latency float64) []Node {
	return equal(n, Node{Kind: "k", Speed: 1e9, Memory: 1 << 40, Bandwidth: bandwidth, Latency: latency})
}

// run evaluates segments, and simulates them with so much in flight.
func run(t *testing.T, r Request, segments []segment, flight []int) float64 {
	t.Helper()
	s := newSystem(r, slices.Clone(r.Nodes))
	c := s.evaluate(segments)
	if len(c.short) > 0 {
		t.Fatal(c.short)
	}
	seconds, _, _ := c.simulate(flight)
	return seconds
}

func TestSimulatedPipelines(t *testing.T) {
	apartOn := func(v, l []int) []segment { return []segment{{0, 0, 1, v}, {1, 0, 1, l}} }
	const fast = 1e24 / 2
	for _, c := range []struct {
		name      string
		profile   Profile
		n, mb     int
		bandwidth float64
		segments  []segment
		flight    []int
		want      float64
	}{
		{"one node computes everything", two(1, 2, 3, 4, 1, 1), 1, 5, fast, apartOn([]int{0}, []int{0}), []int{1}, 50},
		{"one in flight: the towers take turns", two(1, 2, 3, 4, 1, 1), 2, 5, fast, apartOn([]int{0}, []int{1}), []int{1, 1}, 50},
		// The language tower is the slower one: it waits for the first features, and the
		// last gradient is still worked on after it.
		{"two in flight: the slower tower is always busy", two(1, 2, 3, 4, 1, 1), 2, 5, fast, apartOn([]int{0}, []int{1}), []int{2, 1}, 1 + 5*7 + 2},
		{"the vision tower is the slower one", two(4, 4, 1, 1, 1, 1), 2, 4, fast, apartOn([]int{0}, []int{1}), []int{2, 1}, 4*8 + 0},
		{"no gradient goes back to a frozen tower", two(1, 0, 3, 4, 0, 1), 2, 5, fast, apartOn([]int{0}, []int{1}), []int{2, 1}, 1 + 5*3},
		{"replicas share", two(1, 2, 3, 4, 1, 1), 2, 4, fast, apartOn([]int{0, 1}, []int{0, 1}), []int{1, 1}, 20},
		// One vision worker feeds two in turn, not one after the other.
		{"one feeds two", two(1, 0.5, 4, 4, 1, 1), 3, 8, fast, apartOn([]int{0}, []int{1, 2}), []int{4, 1, 1}, 2 + 4*8 + 0.5},
		// 1 s a crossing: features, gradient.
		{"a transfer nobody waits for but at the ends", two(1, 2, 3, 4, 1, 1e9), 2, 5, 1e9, apartOn([]int{0}, []int{1}), []int{3, 1}, 1 + 1 + 5*7 + 1 + 2},
		{"a transfer that everybody waits for", two(1, 1, 1, 1, 1, 4e9), 2, 4, 1e9, apartOn([]int{0}, []int{1}), []int{1, 1}, 4 * (1 + 4 + 2 + 4 + 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Request{Profile: c.profile, Nodes: nodesOf(c.n, c.bandwidth, 0), Microbatches: c.mb}
			if got := run(t, r, c.segments, c.flight); math.Abs(got-c.want) > 1e-3 {
				t.Errorf("%v s, want %v", got, c.want)
			}
		})
	}
}

// TestSimulationIsWithinItsBounds: no faster than the busiest worker, no slower
// than one worker that does everything and waits for every byte.
func TestSimulationIsWithinItsBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		n := 2 + r.IntN(4)
		v := 1 + r.IntN(n-1)
		q := Request{Profile: two(r.Float64(), r.Float64(), r.Float64(), r.Float64(), 1, r.Int64N(1e9)), Nodes: nodesOf(n, 1e9, 0.01), Microbatches: n + r.IntN(12)}
		var line []int
		for i := range n {
			line = append(line, i)
		}
		overlap := r.IntN(v + 1)
		segments := []segment{{0, 0, 1, line[:v]}, {1, 0, 1, line[v-overlap:]}}
		s := newSystem(q, q.Nodes)
		c := s.evaluate(segments)
		flight := make([]int, n)
		for w := range flight {
			flight[w] = 1 + r.IntN(3)
		}
		got, traffic, _ := c.simulate(flight)
		busiest, serial := 0.0, 0.0
		busy := make([]float64, n)
		for m := range q.Microbatches {
			for i := range segments {
				seconds := (c.loads[i].forward + c.loads[i].backward) / 1e9
				busy[c.owner(i, m)] += seconds
				serial += seconds
			}
			serial += 2*float64(q.Profile.CutBytes)/1e9 + 2*0.01
		}
		busiest = slices.Max(busy)
		if got < busiest || got > serial+2 {
			t.Fatalf("%v in flight on %s: %v s, want %v to %v", flight, shape(c.plan), got, busiest, serial)
		}
		var sent float64
		for _, b := range traffic {
			sent += b
		}
		crossing := 0
		for m := range q.Microbatches {
			if c.owner(0, m) != c.owner(1, m) {
				crossing++
			}
		}
		if least := 2 * float64(crossing) * float64(q.Profile.CutBytes); sent < least-1 || sent > least+1e4 {
			t.Fatalf("%v bytes are sent, want %v for %d microbatches that cross", sent, least, crossing)
		}
	}
}

func TestOrderTakesTurns(t *testing.T) {
	p := Plan{Nodes: []string{"a", "b", "c", "d"}, Microbatches: 6, Stages: []Stage{
		{Tower: Vision, Hi: 1, Workers: []int{0}, Owners: []int{0, 0, 0, 0, 0, 0}},
		{Tower: Language, Hi: 1, Workers: []int{1, 2, 3}, Owners: []int{1, 1, 1, 2, 2, 3}},
	}}
	if got, want := p.Order(), []int{0, 3, 5, 1, 4, 2}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestAllReduce(t *testing.T) {
	for _, c := range []struct {
		mb     int
		counts []int
		wire   string
		want   []float64 // bytes sent by each, of a vector of 120 elements
	}{
		{8, []int{4, 4}, FP32, []float64{480, 480}},                 // 2·½ of 480 bytes
		{8, []int{4, 4}, BF16, []float64{240, 240}},                 //
		{8, []int{2, 2, 2, 2}, FP32, []float64{720, 720, 720, 720}}, // 2·¾
		{8, []int{3, 3, 2}, FP32, []float64{960, 960, 640}},         // two sub-trees, two, one
		{8, []int{8}, FP32, []float64{0}},
	} {
		s := newSystem(Request{Profile: two(1, 1, 1, 1, 1, 1), Microbatches: c.mb, Wire: c.wire}, nil)
		seconds, sent := s.allReduce(120, spans(c.counts), nodesOf(len(c.counts), 1e3, 0.5))
		if !slices.Equal(sent, c.want) {
			t.Errorf("%v in %s: sent %v, want %v", c.counts, c.wire, sent, c.want)
		}
		if len(c.counts) > 1 && seconds < slices.Max(sent)/1e3+1 || len(c.counts) == 1 && seconds != 0 {
			t.Errorf("%v in %s: %v s", c.counts, c.wire, seconds)
		}
	}
}

// Towers of the same weight: kept apart though together is a little faster.
func TestTowersAreKeptApartWhereItCostsLittle(t *testing.T) {
	p := two(1, 2, 1, 2, 1, 1)
	q := Request{Profile: p, Nodes: nodesOf(2, 1e9, 1e-6), Microbatches: 64, Want: 2}
	plan, err := MakePlan(q)
	if err != nil {
		t.Fatal(err)
	}
	if got := shape(plan.Plan); got != "V0-1×64, L0-1×64" {
		t.Errorf("plan %s", got)
	}
	if all := strings.Join(plan.Explanation, "\n"); !strings.Contains(all, "so little faster that towers are kept on nodes of their own") {
		t.Error(all)
	}
	q.Microbatches = 8 // now filling and draining the pipeline costs more than 5 %
	if plan, err = MakePlan(q); err != nil {
		t.Fatal(err)
	}
	if got := shape(plan.Plan); got != "V0-1×4 L0-1×4, V0-1×4 L0-1×4" {
		t.Errorf("plan %s", got)
	}
}

// A tower that is a third of the work, on two nodes that have room for it only
// once: the one with more memory holds both.
func TestMixtureWhereItHelps(t *testing.T) {
	p := two(0.1, 0.1, 1, 2, 1, 1)
	p.Towers[0].Blocks[0].Weights = 1000
	p.Towers[1].Blocks[0].Weights = 100
	nodes := nodesOf(2, 1e9, 1e-6)
	nodes[0].Memory, nodes[1].Memory = 1400, 400
	plan, err := MakePlan(Request{Profile: p, Nodes: nodes, Microbatches: 16, Want: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got := shape(plan.Plan); got != "V0-1×16 L0-1×7, L0-1×9" && got != "V0-1×16 L0-1×8, L0-1×8" {
		t.Errorf("plan %s\n%s", got, strings.Join(plan.Explanation, "\n"))
	}
}

// Replicas exchange the elements that masks keep, and hold all of them.
func TestDroppedElementsAreNotExchanged(t *testing.T) {
	both := []int{0, 1}
	plan := func(dropped int64) *candidate {
		p := two(1, 1, 1, 1, 1000, 1)
		p.Towers[1].Blocks[0].Dropped = dropped
		r := Request{Profile: p, Nodes: nodesOf(2, 1e3, 0), Microbatches: 4}
		return newSystem(r, r.Nodes).evaluate([]segment{{0, 0, 1, both}, {1, 0, 1, both}})
	}
	all, half := plan(0), plan(500)
	if got := half.reducing[1] / all.reducing[1]; half.reducing[0] != all.reducing[0] || got != 0.5 {
		t.Errorf("exchanges of %v s, of %v s with half of the language tower's elements dropped", all.reducing, half.reducing)
	}
	if a, b := all.occupancies()[0].at(1), half.occupancies()[0].at(1); a != b {
		t.Errorf("%d bytes of memory, %d with dropped elements", a, b)
	}
	p := two(1, 1, 1, 1, 1000, 1)
	p.Towers[0].Blocks[0].Dropped = 1001
	if err := p.Check(); err == nil || !strings.Contains(err.Error(), "1001 of 1000 trained elements are dropped") {
		t.Errorf("more dropped than trained: %v", err)
	}
}
