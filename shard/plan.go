package shard

import (
	"fmt"
	"slices"
)

// Roles of towers.
const (
	Vision   = "vision"
	Language = "language"
)

// Plan says which worker computes what. A worker is the process of a job on one
// node; workers are numbered, and their numbers are the ranks of the collective
// group. Worker 0 is the chief: it writes the run's folder.
type Plan struct {
	// Nodes are the names of the nodes, by worker. No node has two workers of a job.
	Nodes []string `json:"nodes"`
	// Stages are in the order of the graph: the vision tower's from its input to its
	// output, then the language tower's.
	Stages []Stage `json:"stages"`
	// Microbatches is the job's number of microbatches a step.
	Microbatches int `json:"microbatches"`
	// InFlight is how many microbatches each worker keeps in flight, by worker: as
	// many as keep its peers busy and fit its memory. A trainer may use more where it
	// has the memory. Absent, it is the trainer's choice.
	InFlight []int `json:"in_flight,omitempty"`
}

// Stage is a contiguous range of one tower's blocks. The first stage of a tower
// includes what comes before its blocks (embedding, projector), the last one what
// follows them (norm, head, loss).
type Stage struct {
	Tower string `json:"tower"` // Vision or Language
	Index int    `json:"stage"` // within the tower, from 0
	Lo    int    `json:"lo"`    // blocks [Lo, Hi)
	Hi    int    `json:"hi"`
	// Workers hold the stage: Workers[r] is replica r. Ascending.
	Workers []int `json:"workers"`
	// Owners[m] is the worker that computes microbatch m of a step: contiguous
	// ranges, so that a replica can add most of its own sums along the tree.
	Owners []int `json:"owners"`
}

// Role is one worker's part in a job.
type Role struct {
	Tower   string `json:"role"`
	Stage   int    `json:"stage"`
	Replica int    `json:"replica"`
}

// Roles returns what worker w does, in the order of the graph.
func (p Plan) Roles(w int) []Role {
	var out []Role
	for _, s := range p.Stages {
		if r := slices.Index(s.Workers, w); r >= 0 {
			out = append(out, Role{s.Tower, s.Index, r})
		}
	}
	return out
}

// Holds reports which stages worker w holds, by index in Stages.
func (p Plan) Holds(w int) []bool {
	out := make([]bool, len(p.Stages))
	for i, s := range p.Stages {
		out[i] = slices.Contains(s.Workers, w)
	}
	return out
}

// Worker returns the worker on a node; -1 for none.
func (p Plan) Worker(node string) int { return slices.Index(p.Nodes, node) }

// Order is the order in which every worker takes up the microbatches it has a part
// in: one for all of them, so that they never wait for each other in a circle.
// Workers of the stage with most replicas get their microbatches in turn; ascending
// order would let a single vision worker feed one language worker after the other.
func (p Plan) Order() []int {
	var widest Stage
	for _, s := range p.Stages {
		if len(s.Workers) > len(widest.Workers) {
			widest = s
		}
	}
	turn, taken := make([]int, p.Microbatches), map[int]int{}
	order := make([]int, p.Microbatches)
	for m, w := range widest.Owners {
		order[m], turn[m] = m, taken[w]
		taken[w]++
	}
	slices.SortStableFunc(order, func(a, b int) int { return turn[a] - turn[b] })
	return order
}

// Share cuts n items into parts as evenly as can be, the first ones larger, and
// returns the range of part i.
func Share(n, parts, i int) (lo, hi int) {
	base, extra := n/parts, n%parts
	lo = i*base + min(i, extra)
	hi = lo + base
	if i < extra {
		hi++
	}
	return lo, hi
}

// Spread returns the owners of n microbatches over workers: contiguous shares.
func Spread(n int, workers []int) []int {
	out := make([]int, n)
	for r, w := range workers {
		lo, hi := Share(n, len(workers), r)
		for m := lo; m < hi; m++ {
			out[m] = w
		}
	}
	return out
}

// Solo is the plan of one worker that holds two whole towers.
func Solo(node string, visionBlocks, languageBlocks, microbatches int) Plan {
	own := func() []int { return make([]int, microbatches) }
	return Plan{Nodes: []string{node}, Microbatches: microbatches, Stages: []Stage{
		{Tower: Vision, Hi: visionBlocks, Workers: []int{0}, Owners: own()},
		{Tower: Language, Hi: languageBlocks, Workers: []int{0}, Owners: own()},
	}}
}

// Check verifies that the plan is complete and consistent: stages in order and
// without gaps, every worker with a role, every microbatch with an owner among
// the stage's workers.
func (p Plan) Check() error {
	if len(p.Nodes) == 0 || len(p.Stages) == 0 || p.Microbatches < 1 {
		return fmt.Errorf("plan: %d nodes, %d stages, %d microbatches", len(p.Nodes), len(p.Stages), p.Microbatches)
	}
	if p.InFlight != nil && (len(p.InFlight) != len(p.Nodes) || slices.Min(p.InFlight) < 1) {
		return fmt.Errorf("plan: %v microbatches in flight on %d workers", p.InFlight, len(p.Nodes))
	}
	for i, n := range p.Nodes {
		if n == "" || slices.Index(p.Nodes, n) != i {
			return fmt.Errorf("plan: worker %d is on node %q, which is empty or taken", i, n)
		}
		if len(p.Roles(i)) == 0 {
			return fmt.Errorf("plan: worker %d on node %s has no role", i, n)
		}
	}
	for i, s := range p.Stages {
		if err := p.checkStage(i); err != nil {
			return fmt.Errorf("plan: stage %d of the %s tower: %w", s.Index, s.Tower, err)
		}
	}
	return nil
}

func (p Plan) checkStage(i int) error {
	s := p.Stages[i]
	if s.Tower != Vision && s.Tower != Language {
		return fmt.Errorf("no such tower")
	}
	first := i == 0 || p.Stages[i-1].Tower != s.Tower
	switch {
	case !first && s.Tower == p.Stages[i-1].Tower && (s.Index != p.Stages[i-1].Index+1 || s.Lo != p.Stages[i-1].Hi):
		return fmt.Errorf("blocks [%d,%d) do not follow those of stage %d", s.Lo, s.Hi, p.Stages[i-1].Index)
	case first && (s.Index != 0 || s.Lo != 0), s.Hi < s.Lo:
		return fmt.Errorf("blocks [%d,%d) as stage %d", s.Lo, s.Hi, s.Index)
	case first && i > 0 && s.Tower == Vision:
		return fmt.Errorf("the vision tower comes after the language tower")
	case len(s.Workers) == 0 || !slices.IsSorted(s.Workers):
		return fmt.Errorf("workers %v", s.Workers)
	case len(s.Owners) != p.Microbatches:
		return fmt.Errorf("%d owners for %d microbatches", len(s.Owners), p.Microbatches)
	}
	for r, w := range s.Workers {
		if w < 0 || w >= len(p.Nodes) || r > 0 && w == s.Workers[r-1] {
			return fmt.Errorf("workers %v of %d", s.Workers, len(p.Nodes))
		}
	}
	for m, w := range s.Owners {
		if !slices.Contains(s.Workers, w) {
			return fmt.Errorf("microbatch %d is owned by worker %d, who is not of %v", m, w, s.Workers)
		}
	}
	return nil
}
