package model

import "fmt"

// Recompute says what is computed again in backward rather than kept.
type Recompute uint8

// What blocks can do without.
const (
	RecomputeNothing Recompute = iota // norms and activations are always
	RecomputeMLPs                     // what goes into the activation of an MLP
	RecomputeBlocks                   // all but the input of each block
)

// ParseRecompute reads the name that a job file has for it: none, mlps or blocks.
func ParseRecompute(name string) (Recompute, error) {
	switch name {
	case "none":
		return RecomputeNothing, nil
	case "mlps":
		return RecomputeMLPs, nil
	case "blocks":
		return RecomputeBlocks, nil
	}
	return 0, fmt.Errorf("recompute %q, want none, mlps or blocks", name)
}
