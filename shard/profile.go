package shard

import "fmt"

// Profile is what the planner knows of a job's model: what each block of each
// tower costs for one microbatch. All figures are for the job's own microbatch
// size and longest sample.
type Profile struct {
	Towers []Tower `json:"towers"` // vision, then language
	// CutBytes cross between the towers for a microbatch in one direction, at 4
	// bytes an element: the features of one flow.
	CutBytes int64 `json:"cut_bytes"`
	// Flows is how many feature sets cross forward: the student's and those of
	// teachers with a vision tower of their own. One gradient comes back.
	Flows int `json:"flows"`
	// Kept says that the trained state of the step before is kept beside that of the
	// last.
	Kept bool `json:"kept,omitempty"`
}

// Tower is the profile of one tower.
type Tower struct {
	Role string `json:"role"`
	// Blocks hold the costs of the transformer blocks. What comes before the first
	// is added to it, what follows the last to that one.
	Blocks []Block `json:"blocks"`
	// HiddenBytes cross a cut inside the tower for a microbatch and flow, at 4 bytes
	// an element.
	HiddenBytes int64 `json:"hidden_bytes"`
	Flows       int   `json:"flows"` // forward runs of a microbatch: student and teachers
	// Fixed are bytes that every stage of the tower holds beside its blocks, such as
	// tables of positions.
	Fixed int64 `json:"fixed,omitempty"`
	// Whole says that the tower cannot be cut into stages: its head is its embedding.
	Whole bool `json:"whole,omitempty"`
}

// Block is what one block costs.
type Block struct {
	Forward  float64 `json:"forward"`  // flops of one forward of a microbatch
	Backward float64 `json:"backward"` // flops of the student's backward
	Weights  int64   `json:"weights"`  // bytes of frozen weights and masks while it is trained
	Trained  int64   `json:"trained"`  // trained elements: 16 bytes each (value, gradient, two moments)
	// Dropped are trained elements that masks drop: replicas do not exchange them.
	Dropped     int64 `json:"dropped,omitempty"`
	Activations int64 `json:"activations"` // bytes kept for the backward of one microbatch
	// Loading are the bytes that weights take more before: as they are read, before
	// what masks drop leaves memory.
	Loading int64 `json:"loading,omitempty"`
	// Scratch are the most bytes that are in use beside what is kept while the block
	// computes a microbatch.
	Scratch int64 `json:"scratch,omitempty"`
}

// Node is what the planner knows of a node.
type Node struct {
	Name   string  `json:"name"`
	Kind   string  `json:"kind"`   // numeric kind
	Speed  float64 `json:"speed"`  // measured flop/s of a dense product
	Memory int64   `json:"memory"` // free bytes of the device
	// Apart says that the device's memory is not the host's: copies there do not
	// count. Stream are the bytes that each stream of work takes for itself.
	Apart     bool    `json:"apart,omitempty"`
	Stream    int64   `json:"stream,omitempty"`
	Bandwidth float64 `json:"bandwidth"` // measured bytes/s to a peer; 0 is unknown
	Latency   float64 `json:"latency"`   // seconds one way
}

// Bounds of what is planned: far above any job, and low enough that planning at
// all of them takes seconds.
const (
	MaxBlocks       = 512     // of a tower
	MaxMicrobatches = 1 << 20 // of a step
	MaxNodes        = 256
	maxFlops        = 1e24 // of a block and microbatch; also the highest speed
	maxFlows        = 1024
)

// Check reports the first figure of a profile that makes no sense.
func (p Profile) Check() error {
	if len(p.Towers) < 1 || len(p.Towers) > 2 {
		return fmt.Errorf("profile: %d towers, want one or two", len(p.Towers))
	}
	if len(p.Towers) == 2 && (p.Towers[0].Role != Vision || p.Towers[1].Role != Language) {
		return fmt.Errorf("profile: towers %q and %q, want %q and %q", p.Towers[0].Role, p.Towers[1].Role, Vision, Language)
	}
	if len(p.Towers) == 2 && (p.CutBytes < 0 || p.Flows < 1 || p.Flows > maxFlows) {
		return fmt.Errorf("profile: %d flows of %d bytes between the towers", p.Flows, p.CutBytes)
	}
	for _, t := range p.Towers {
		if err := t.check(); err != nil {
			return fmt.Errorf("profile: %s tower: %w", t.Role, err)
		}
	}
	return nil
}

func (t Tower) check() error {
	switch {
	case t.Role != Vision && t.Role != Language:
		return fmt.Errorf("no such tower")
	case len(t.Blocks) < 1 || len(t.Blocks) > MaxBlocks:
		return fmt.Errorf("%d blocks, want 1 to %d", len(t.Blocks), MaxBlocks)
	case t.Flows < 1 || t.Flows > maxFlows || t.HiddenBytes < 0 || t.Fixed < 0:
		return fmt.Errorf("%d flows, %d bytes of hidden state, %d fixed bytes", t.Flows, t.HiddenBytes, t.Fixed)
	}
	for i, b := range t.Blocks {
		if !(b.Forward >= 0 && b.Backward >= 0 && b.Forward <= maxFlops && b.Backward <= maxFlops) {
			return fmt.Errorf("block %d: %v flops forward, %v backward", i, b.Forward, b.Backward)
		}
		if min(b.Weights, b.Trained, b.Dropped, b.Activations, b.Scratch, b.Loading) < 0 {
			return fmt.Errorf("block %d: a negative size", i)
		}
		if b.Dropped > b.Trained {
			return fmt.Errorf("block %d: %d of %d trained elements are dropped", i, b.Dropped, b.Trained)
		}
	}
	return nil
}
