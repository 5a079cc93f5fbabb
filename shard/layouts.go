package shard

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// lines returns the orders in which n nodes are dealt out to the stages: the
// fastest, and those with most memory, each from either end. Equal nodes need one.
func (s *system) lines(n int) [][]int {
	by := func(first, second func(Node) float64) []int {
		line := make([]int, len(s.nodes))
		for i := range line {
			line[i] = i
		}
		slices.SortStableFunc(line, func(i, j int) int {
			a, b := s.nodes[i], s.nodes[j]
			return cmp.Or(cmp.Compare(first(b), first(a)), cmp.Compare(second(b), second(a)), chief(s.Chief, a, b), strings.Compare(a.Name, b.Name))
		})
		return line[:n]
	}
	speed := func(x Node) float64 { return x.Speed }
	memory := func(x Node) float64 { return float64(x.Memory) }
	var out [][]int
	for _, line := range [][]int{by(speed, memory), by(memory, speed)} {
		back := slices.Clone(line)
		slices.Reverse(back)
		if alike(s.nodes, line) {
			slices.Sort(line) // by name
			back = line
		}
		for _, l := range [][]int{line, back} {
			if !slices.ContainsFunc(out, func(o []int) bool { return slices.Equal(o, l) }) {
				out = append(out, l)
			}
		}
	}
	return out
}

// chief orders the node that should be chief before others that are as good.
func chief(name string, a, b Node) int {
	switch name {
	case a.Name:
		return -1
	case b.Name:
		return 1
	}
	return 0
}

func alike(nodes []Node, line []int) bool {
	first := nodes[line[0]]
	return !slices.ContainsFunc(line, func(i int) bool {
		n := nodes[i]
		return n.Speed != first.Speed || n.Memory != first.Memory || n.Apart != first.Apart || n.Stream != first.Stream || n.Bandwidth != first.Bandwidth || n.Latency != first.Latency
	})
}

// narrow is the number of nodes above which only divisions near the balanced one
// are tried.
const narrow = 12

// near reports whether v of n nodes for the first tower is worth a try.
func (s *system) near(v, n int) bool {
	if n <= narrow || s.VisionReplicas > 0 || s.LanguageReplicas > 0 {
		return true
	}
	a, b := s.whole(0), s.whole(1)
	ideal := float64(n) * (a.forward + a.backward) / max(1, a.forward+a.backward+b.forward+b.backward)
	return math.Abs(float64(v)-ideal) <= 1.5 || v == 1 && ideal < 1 || v == n-1 && ideal > float64(n-1)
}

// allowed reports whether so many replicas of the towers were asked for, and have
// a microbatch each.
func (s *system) allowed(v, l int) bool {
	if v > s.Microbatches || l > s.Microbatches {
		return false
	}
	if len(s.Profile.Towers) == 1 {
		want := s.LanguageReplicas
		if s.Profile.Towers[0].Role == Vision {
			want = s.VisionReplicas
		}
		return want == 0 || want == v
	}
	return (s.VisionReplicas == 0 || s.VisionReplicas == v) && (s.LanguageReplicas == 0 || s.LanguageReplicas == l)
}

// uncut returns the ways to hold whole towers on exactly n nodes: each tower on
// nodes of its own, on nodes of which one holds both (where one tower's share of
// the work is no whole number of nodes), and both on every node.
func (s *system) uncut(n int) [][]segment {
	var out [][]segment
	for _, line := range s.lines(n) {
		if len(s.Profile.Towers) == 1 {
			if s.allowed(n, n) {
				out = append(out, []segment{{0, 0, s.blocks(0), line}})
			}
			continue
		}
		for v := 1; v <= n; v++ {
			for l := max(1, n-v); l <= n; l++ {
				over := v + l - n
				usual := over <= 1 && s.near(v, n) || v == n && l == n
				if s.allowed(v, l) && (usual || s.VisionReplicas > 0 || s.LanguageReplicas > 0) {
					out = append(out, []segment{{0, 0, s.blocks(0), line[:v]}, {1, 0, s.blocks(1), line[n-l:]}})
				}
			}
		}
	}
	return out
}

// cuts returns the ways to hold towers in stages on exactly n nodes: both towers
// as one chain of pieces, or each on nodes of its own; every piece on as many
// nodes as there are replicas.
func (s *system) cuts(n int) [][]segment {
	var out [][]segment
	add := func(segments []segment) {
		if segments != nil {
			out = append(out, segments)
		}
	}
	towers := []int{0, 1}[:len(s.Profile.Towers)]
	for _, line := range s.lines(n) {
		for pieces := 2; pieces <= n; pieces++ {
			if r := n / pieces; n%pieces == 0 && s.allowed(r, r) {
				for _, flight := range []int{0, 1} {
					add(s.cut(towers, deal(line, pieces), inFlight(pieces, flight)))
				}
			}
		}
		if len(towers) < 2 {
			continue
		}
		for a := 1; a < n; a++ {
			if !s.near(a, n) {
				continue
			}
			for _, p := range divisors(a) {
				for _, q := range divisors(n - a) {
					if p == 1 && q == 1 || !s.allowed(a/p, (n-a)/q) {
						continue
					}
					first := s.cut(towers[:1], deal(line[:a], p), inFlight(p+q, 0))
					second := s.cut(towers[1:], deal(line[a:], q), inFlight(q, 0))
					if first != nil && second != nil {
						add(append(slices.Clone(first), second...))
					}
				}
			}
		}
	}
	return out
}

// inFlight says how many microbatches piece g of a chain must hold: those of the
// pieces behind it and its own, or with a bound, that many.
func inFlight(pieces, bound int) func(g int) int {
	return func(g int) int {
		if bound > 0 {
			return bound
		}
		return pieces - g
	}
}

// deal cuts a line of nodes into groups of equal size.
func deal(line []int, groups int) [][]int {
	size := len(line) / groups
	var out [][]int
	for g := range groups {
		out = append(out, line[g*size:(g+1)*size])
	}
	return out
}

func divisors(n int) []int {
	var out []int
	for d := 1; d <= n; d++ {
		if n%d == 0 {
			out = append(out, d)
		}
	}
	return out
}
