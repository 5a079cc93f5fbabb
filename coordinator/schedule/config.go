package schedule

import (
	"fmt"
	"time"
)

// Config holds the patience of decisions.
type Config struct {
	// Lease is how long a node may be silent before it counts as lost. Nodes beat at
	// least three times as often.
	Lease time.Duration
	// BrokenWait is how long reports that only name a broken exchange wait for a
	// better cause.
	BrokenWait time.Duration
	// CancelWait is how long a cancelled job waits for its workers' reports.
	CancelWait time.Duration
	// PlaceWait is how long a job that has never fitted the cluster waits for it to
	// grow before it fails.
	PlaceWait time.Duration
	// GrowAfter is how long a generation runs before it gives way to a wider one,
	// when nodes that the job has had or asks for are free again; 0 never does.
	GrowAfter time.Duration
	// StallAfter is how long nothing may begin or end in any worker of a job until it
	// shows as stalled, and StallLimit until it counts as failed; where the job was
	// quiet for long before, some multiples of that. A limit of 0 never fails it.
	StallAfter, StallLimit time.Duration
	// MaxPassed is how many later jobs may start before one that waits; then free
	// nodes are kept for it.
	MaxPassed int
	// MaxInspections run at once, at most one a node.
	MaxInspections int
	// MaxPlans bounds how often one decision calls the planner, not counting what a
	// [Memo] remembers.
	MaxPlans int
	// MaxCandidates is how many nodes a plan is chosen from, the fastest ones, where
	// the job does not ask for more.
	MaxCandidates int
}

// DefaultConfig returns the values for a lease; 3 s is the product's default.
func DefaultConfig(lease time.Duration) Config {
	return Config{
		Lease: lease, BrokenWait: 2 * time.Second, CancelWait: time.Minute, PlaceWait: 30 * time.Second,
		GrowAfter: 10 * time.Second, StallAfter: 10 * time.Second, StallLimit: 2 * time.Minute, MaxPassed: 8, MaxInspections: 8, MaxPlans: 16, MaxCandidates: 64,
	}
}

// WithStallLimit returns the configuration with another limit of stalled jobs, which
// show well before.
func (c Config) WithStallLimit(limit time.Duration) Config {
	c.StallLimit = limit
	if limit != 0 {
		c.StallAfter = min(c.StallAfter, limit/2)
	}
	return c
}

// MinLease is the shortest lease: nodes beat, and leaders look, a few times in each.
const MinLease = 100 * time.Millisecond

// Check refuses values that nothing would come of.
func (c Config) Check() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"lease", c.Lease}, {"broken-wait", c.BrokenWait}, {"cancel-wait", c.CancelWait}, {"place-wait", c.PlaceWait}} {
		if d.value <= 0 {
			return fmt.Errorf("%s: found %v, want a time above 0", d.name, d.value)
		}
	}
	if c.StallAfter <= 0 || c.StallLimit != 0 && c.StallLimit < max(MinLease, c.StallAfter) {
		return fmt.Errorf("stall-limit: found %v, want 0 or at least %v", c.StallLimit, max(MinLease, c.StallAfter))
	}
	if c.Lease < MinLease {
		return fmt.Errorf("lease: found %v, want at least %v", c.Lease, MinLease)
	}
	if c.GrowAfter < 0 || c.MaxPassed < 1 || c.MaxInspections < 1 || c.MaxPlans < 1 || c.MaxCandidates < 1 {
		return fmt.Errorf("scheduling limits below 1: %+v", c)
	}
	return nil
}
