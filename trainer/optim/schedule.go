package optim

import (
	"fmt"
	"math"
)

// Schedule is how the learning rate runs over a job of Steps steps.
type Schedule struct {
	Kind   string  // "constant", "linear" or "cosine"
	Base   float64 // learning rate after warm-up
	Warmup int     // steps of linear rise; step s < Warmup runs at Base·(s+1)/Warmup
	Floor  float64 // fraction of Base at the last step (linear, cosine)
	Steps  int
}

// Schedules are the valid kinds.
func Schedules() []string { return []string{"constant", "cosine", "linear"} }

// Check reports the first bad field.
func (c Schedule) Check() error {
	switch {
	case c.Kind != "constant" && c.Kind != "linear" && c.Kind != "cosine":
		return fmt.Errorf("schedule: %q is none of %v", c.Kind, Schedules())
	case !(c.Base > 0) || math.IsInf(c.Base, 0):
		return fmt.Errorf("learning rate: %v is not positive", c.Base)
	case c.Steps < 1:
		return fmt.Errorf("steps: %d is not positive", c.Steps)
	case c.Warmup < 0 || c.Warmup > c.Steps:
		return fmt.Errorf("warmup: %d is not within 0 … %d steps", c.Warmup, c.Steps)
	case c.Floor < 0 || c.Floor > 1:
		return fmt.Errorf("floor: %v is not within 0 … 1", c.Floor)
	}
	return nil
}

// At returns the learning rate of step s, counted from 0.
func (c Schedule) At(s int) float64 {
	if s < c.Warmup {
		return c.Base * float64(s+1) / float64(c.Warmup)
	}
	if c.Kind == "constant" || c.Steps <= c.Warmup+1 {
		return c.Base
	}
	done := min(1, float64(s-c.Warmup)/float64(c.Steps-1-c.Warmup))
	left := 1 - done
	if c.Kind == "cosine" {
		left = 0.5 * (1 + math.Cos(math.Pi*done))
	}
	// The conversion keeps the product from being fused into the sum.
	return c.Base * (c.Floor + float64((1-c.Floor)*left))
}
