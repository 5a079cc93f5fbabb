package trace

import (
	"slices"
	"time"
)

const (
	recent   = 31 // steps that a pace is of
	known    = 5  // fewer say nothing
	slowness = 2  // times the median is slow
)

// pace is how long the last steps took.
type pace struct {
	last [recent]time.Duration
	n    int
}

func (p *pace) add(d time.Duration) {
	p.last[p.n%recent] = d
	p.n++
}

// slow reports whether a time is unusually long.
func (p *pace) slow(d time.Duration) bool {
	if p.n < known {
		return false
	}
	sorted := slices.Clone(p.last[:min(p.n, recent)])
	slices.Sort(sorted)
	return d > slowness*sorted[len(sorted)/2]
}
