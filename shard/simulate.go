package shard

import (
	"container/heap"
	"slices"
)

// mostSimulated bounds the microbatches that are simulated; of more, an even
// sample stands for all.
const mostSimulated = 256

// simulation plays one step of a plan: every worker computes one thing at a time
// and sends and receives over one link each; it has a limited number of
// microbatches in flight, takes them up in the plan's order, and of what is ready
// it computes what is furthest along (one forward, one backward).
type simulation struct {
	c      *candidate
	flight []int
	plan   Plan    // of the sample
	hops   []hop   // of every microbatch
	each   float64 // microbatches that one of the sample stands for

	events   events
	at       []int   // by microbatch: index of its hop
	place    [][]int // by worker and microbatch: its turn; -1 for none
	done     []int   // by worker: microbatches it has finished
	busy     []bool
	ready    [][]int
	out, in  []float64 // when a worker's link is free again
	finished []float64 // by stage: end of its last backward
	traffic  []float64 // by worker: bytes sent in the sample
}

// hop is one computation of a microbatch.
type hop struct {
	stage    int
	backward bool
}

// event is the arrival of a microbatch's input at its worker, or the end of a
// computation there.
type event struct {
	at         float64
	end        bool
	order      int // among events of the same time
	microbatch int
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if e[i].at != e[j].at {
		return e[i].at < e[j].at
	}
	return e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push implements [heap.Interface].
func (e *events) Push(x any) { *e = append(*e, x.(event)) }

// Pop implements [heap.Interface].
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// simulate returns the seconds of a step, the bytes that each worker sends, and
// the seconds that each stage's exchange of gradients takes.
func (c *candidate) simulate(flight []int) (seconds float64, traffic, reducing []float64) {
	s := &simulation{c: c, flight: flight}
	s.prepare()
	for m := range s.plan.Microbatches {
		s.arrive(m, 0)
	}
	var now float64
	for len(s.events) > 0 {
		e := heap.Pop(&s.events).(event)
		now = e.at
		if e.end {
			s.end(e)
		} else {
			w := s.worker(e.microbatch)
			s.ready[w] = append(s.ready[w], e.microbatch)
			s.start(w, now)
		}
	}
	for w := range s.traffic {
		s.traffic[w] *= s.each
	}
	return s.settle(now), s.traffic, s.reduce()
}

func (s *simulation) prepare() {
	c := s.c
	n := c.plan.Microbatches
	g := min(n, max(mostSimulated, 2*len(c.nodes)))
	s.each = float64(n) / float64(g)
	s.plan = Plan{Nodes: c.plan.Nodes, Microbatches: g}
	for i, st := range c.plan.Stages {
		sample := make([]int, g)
		for m := range sample {
			sample[m] = c.owner(i, m*n/g)
		}
		st.Owners = sample
		s.plan.Stages = append(s.plan.Stages, st)
		s.hops = append(s.hops, hop{i, false})
	}
	for i := len(c.plan.Stages) - 1; i >= 0; i-- {
		if c.loads[i].trained > 0 || c.sys.trainedBefore(c.tower(i), c.segments[i].lo) {
			s.hops = append(s.hops, hop{i, true})
		}
	}
	workers := len(c.nodes)
	s.at, s.finished = make([]int, g), make([]float64, len(c.plan.Stages))
	s.done, s.busy, s.ready = make([]int, workers), make([]bool, workers), make([][]int, workers)
	s.out, s.in, s.traffic = make([]float64, workers), make([]float64, workers), make([]float64, workers)
	turn := make([]int, workers)
	for w := range workers {
		s.place = append(s.place, make([]int, g))
		for m := range g {
			s.place[w][m] = -1
		}
	}
	for _, m := range s.plan.Order() {
		for _, st := range s.plan.Stages {
			if w := st.Owners[m]; s.place[w][m] < 0 {
				s.place[w][m] = turn[w]
				turn[w]++
			}
		}
	}
}

// worker returns who computes the next hop of a microbatch.
func (s *simulation) worker(m int) int { return s.plan.Stages[s.hops[s.at[m]].stage].Owners[m] }

func (s *simulation) arrive(m int, at float64) {
	heap.Push(&s.events, event{at: at, order: m, microbatch: m})
}

// start lets an idle worker begin with what is ready and furthest along.
func (s *simulation) start(w int, now float64) {
	if s.busy[w] {
		return
	}
	best := -1
	for i, m := range s.ready[w] {
		if s.place[w][m] >= s.done[w]+s.flight[w] {
			continue
		}
		if best < 0 || s.before(w, m, s.ready[w][best]) {
			best = i
		}
	}
	if best < 0 {
		return
	}
	m := s.ready[w][best]
	s.ready[w] = slices.Delete(s.ready[w], best, best+1)
	s.busy[w] = true
	h := s.hops[s.at[m]]
	flops := s.c.loads[h.stage].forward
	if h.backward {
		flops = s.c.loads[h.stage].backward
	}
	heap.Push(&s.events, event{at: now + s.each*flops/s.c.nodes[w].Speed, end: true, order: m, microbatch: m})
}

func (s *simulation) before(w, a, b int) bool {
	if s.at[a] != s.at[b] {
		return s.at[a] > s.at[b]
	}
	return s.place[w][a] < s.place[w][b]
}

// end passes a microbatch on to its next hop.
func (s *simulation) end(e event) {
	m := e.microbatch
	w, h := s.worker(m), s.hops[s.at[m]]
	s.busy[w] = false
	s.finished[h.stage] = e.at
	s.at[m]++
	if !s.returns(m, w) {
		s.done[w]++
	}
	if s.at[m] < len(s.hops) {
		if to := s.worker(m); to == w {
			s.ready[w] = append(s.ready[w], m)
		} else {
			s.send(m, w, to, h, e.at)
		}
	}
	s.start(w, e.at)
}

// returns reports whether a microbatch has a hop left on worker w.
func (s *simulation) returns(m, w int) bool {
	return slices.ContainsFunc(s.hops[s.at[m]:], func(h hop) bool { return s.plan.Stages[h.stage].Owners[m] == w })
}

// send moves what hop h made from one worker to another.
func (s *simulation) send(m, from, to int, h hop, now float64) {
	bytes := s.c.edges[h.stage].forward
	if h.backward {
		bytes = s.c.edges[h.stage-1].gradient
	}
	a, b := s.c.nodes[from], s.c.nodes[to]
	begin := max(now, s.out[from], s.in[to])
	end := begin + s.each*bytes/min(a.Bandwidth, b.Bandwidth)
	s.out[from], s.in[to] = end, end
	s.traffic[from] += bytes
	s.arrive(m, end+max(a.Latency, b.Latency))
}

// settle returns when the step ends whose microbatches ended at now: each worker
// joins the gradients of its stages with their other replicas, all confirm that
// they have theirs, and all update.
func (s *simulation) settle(now float64) float64 {
	free := make([]float64, len(s.c.nodes))
	update := make([]float64, len(s.c.nodes))
	var latency float64
	for i, st := range s.plan.Stages {
		begin := s.finished[i]
		for _, w := range st.Workers {
			begin = max(begin, free[w])
		}
		seconds, _ := s.c.reduction(i)
		for _, w := range st.Workers {
			free[w] = begin + seconds
			update[w] += updateFlops * s.c.loads[i].trained / s.c.nodes[w].Speed
		}
	}
	for _, n := range s.c.nodes {
		latency = max(latency, n.Latency)
	}
	if len(s.c.nodes) > 1 {
		now += 2 * latency
	}
	return max(now, slices.Max(free)+2*latency*float64(min(1, len(free)-1))) + slices.Max(update)
}

// reduce adds the exchange of gradients to the traffic.
func (s *simulation) reduce() []float64 {
	out := make([]float64, len(s.plan.Stages))
	for i, st := range s.c.plan.Stages {
		var sent []float64
		out[i], sent = s.c.reduction(i)
		for r, w := range st.Workers {
			s.traffic[w] += sent[r]
		}
	}
	return out
}
