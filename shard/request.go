package shard

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that [MakePlan] wraps, beside [DoesNotFit].
var (
	// ErrNoNodes is returned when there is no node to plan on.
	ErrNoNodes = errors.New("no nodes")
	// ErrKinds is returned for nodes of more than one numeric kind: who calls the
	// planner chooses among kinds.
	ErrKinds = errors.New("nodes of different numeric kinds")
	// ErrImpossible is returned when no plan gives what was asked for: more nodes
	// than there are parts of the work, or more replicas than nodes.
	ErrImpossible = errors.New("no such plan")
	// ErrProfile is returned for a request or a profile that makes no sense.
	ErrProfile = errors.New("invalid request to the planner")
)

// Wire dtypes of what crosses between the towers and of reduced gradients.
const (
	FP32 = "fp32"
	BF16 = "bf16"
)

// Request is what [MakePlan] plans.
type Request struct {
	Profile Profile
	// Nodes may be used, each for one worker; their order does not matter.
	Nodes []Node
	// Microbatches of a step.
	Microbatches int
	// Wire is FP32 or BF16; empty is FP32.
	Wire string
	// Want is how many nodes must be used, each with a role; 0 chooses.
	Want int
	// VisionReplicas and LanguageReplicas fix how many workers hold (each stage of) a
	// tower; 0 chooses.
	VisionReplicas   int
	LanguageReplicas int
	// Chief is the node that should be worker 0 where the plan uses it.
	Chief string
}

// Planned is a plan and the reasons for it.
type Planned struct {
	Plan Plan
	// Explanation says in words, a line each, what every worker does, what it costs
	// and why the alternatives lost.
	Explanation []string
	// StepSeconds is the predicted time of a step.
	StepSeconds float64
	// Memory is by worker.
	Memory []Memory
}

// Memory is what a worker needs of its node's memory, in bytes.
type Memory struct {
	Node   string `json:"node"`
	Needs  int64  `json:"needs"`
	Free   int64  `json:"free"`
	Roles  string `json:"roles"`  // in words
	Layers string `json:"layers"` // in words
}

// DoesNotFit is the error of [MakePlan] when no plan fits the nodes' memory. It
// describes the plan that is missing the fewest bytes.
type DoesNotFit struct {
	Node  string // the node that lacks most
	Needs int64  // bytes that its part needs
	Free  int64  // bytes that it has
	What  string // its part in words
	// Missing has a line for every part of that plan that does not fit.
	Missing []Shortfall
}

// Shortfall is a part of a plan that does not fit its node.
type Shortfall struct {
	Node        string
	What        string // towers, stages and blocks in words
	Needs, Free int64  // bytes
}

// Error names the missing bytes of every part.
func (e *DoesNotFit) Error() string {
	parts := make([]string, 0, len(e.Missing))
	for _, s := range e.Missing {
		parts = append(parts, fmt.Sprintf("node %s needs %s for %s and has %s free: %s are missing",
			s.Node, Bytes(s.Needs), s.What, Bytes(s.Free), Bytes(s.Needs-s.Free)))
	}
	return "the model does not fit: " + strings.Join(parts, "; ")
}

// Bytes writes a number of bytes with a decimal unit.
func Bytes(n int64) string {
	v, unit := float64(n), 0
	for (v >= 999.95 || v <= -999.95) && unit < 5 {
		v, unit = v/1000, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %cB", v, " kMGTP"[unit])
}
