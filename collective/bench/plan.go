package bench

import (
	"fmt"
	"slices"
)

// What is measured. The TCP ones are what the others are compared with.
const (
	Ring       = "tcp-ring"    // fp32
	FP32       = "fp32"        //
	BF16       = "bf16"        // bf16 wire, result rounded
	Masked     = "masked"      // fp32, every second position kept
	MaskedBF16 = "masked-bf16" //
	Pipe       = "tcp"         // plain bytes from rank 0 to rank 1
	Arrow      = "arrow"       // a tensor message from rank 0 to rank 1
)

// Plan is what a group of ranks measures.
type Plan struct {
	Rank  int   `json:"rank"`
	World int   `json:"world"`
	Sizes []int `json:"sizes"` // bytes of the fp32 vector or activation, multiples of 256
	Turns int   `json:"turns"`
	// Kinds are measured in turns.
	Kinds []string `json:"kinds"`
}

// Kinds returns all that can be measured.
func Kinds() []string { return []string{Ring, FP32, BF16, Masked, MaskedBF16, Pipe, Arrow} }

// largest is the greatest vector, in bytes: four ranks of it fit 16 GiB.
const largest = 1 << 30

// Check verifies a plan.
func (p *Plan) Check() error {
	if p.World < 2 || p.World > 16 || p.Rank < 0 || p.Rank >= p.World {
		return fmt.Errorf("--ranks: found rank %d of %d, expected 2 to 16 ranks", p.Rank, p.World)
	}
	if p.Turns < 1 || p.Turns > 1000 || len(p.Sizes) == 0 || len(p.Kinds) == 0 {
		return fmt.Errorf("--turns: found %d turns of %d sizes and %d kinds, expected 1 to 1000 turns of something", p.Turns, len(p.Sizes), len(p.Kinds))
	}
	for _, n := range p.Sizes {
		if n < 256 || n > largest || n%256 != 0 {
			return fmt.Errorf("--sizes: found %d bytes, expected a multiple of 256 up to %d", n, largest)
		}
	}
	for _, k := range p.Kinds {
		if !slices.Contains(Kinds(), k) {
			return fmt.Errorf("--kinds: found %q, expected one of %v", k, Kinds())
		}
	}
	return nil
}

// Row is one kind at one size.
type Row struct {
	Kind  string    `json:"kind"`
	World int       `json:"ranks"`
	Size  int       `json:"bytes"`
	Times []float64 `json:"seconds"` // of each turn: until the last rank was done
}

// Median returns the median of the times.
func (r *Row) Median() float64 { return median(r.Times) }

// Ratio returns the median over the turns of another kind's time divided by this
// one's in the same turn: above 1 this one is faster.
func (r *Row) Ratio(other *Row) float64 {
	ratios := make([]float64, min(len(r.Times), len(other.Times)))
	for i := range ratios {
		ratios[i] = other.Times[i] / r.Times[i]
	}
	return median(ratios)
}

// Spread returns the distance of the quartiles in parts of the median: how noisy the
// measurement was.
func (r *Row) Spread() float64 {
	t := slices.Sorted(slices.Values(r.Times))
	return (t[len(t)*3/4] - t[len(t)/4]) / median(t)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}
