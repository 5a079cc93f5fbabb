package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// step is one thing to check.
type step struct {
	name  string
	limit time.Duration
	gpu   bool // it cannot run without one
	run   func(context.Context, *check, *Outcome) error
}

// Outcome is what came of a step.
type Outcome struct {
	Step    string   `json:"step"`
	Status  string   `json:"status"`
	Seconds float64  `json:"seconds"`
	Limit   float64  `json:"limit_seconds"`
	Lines   []string `json:"lines"` // for the page; the first one stands beside the status
	Data    any      `json:"data,omitempty"`
}

// The statuses of a step.
const (
	passed  = "ok"
	failing = "FAILED"
	absent  = "absent"  // what it needs is not on this machine
	skipped = "not run" // there is no GPU, or no time
)

// errAbsent is wrapped where a step misses what it may miss.
var errAbsent = errors.New("not found")

// Report is the whole check.
type Report struct {
	GPU     string    `json:"gpu"`
	Passed  bool      `json:"passed"`
	Seconds float64   `json:"seconds"`
	Steps   []Outcome `json:"steps"`
}

// steps are in the order in which they run. Their usual times are far below the limits,
// which together are more than the check has: the last one gets what is left.
func steps() []step {
	return []step{
		{"device", 30 * time.Second, false, describeGPU},
		{"kernels-fp32", 100 * time.Second, true, kernelsOf("fp32")},
		{"kernels-bf16", 100 * time.Second, true, kernelsOf("bf16")},
		{"kernels-ptx", 60 * time.Second, true, kernelsOf("ptx")},
		{"streams", 60 * time.Second, true, streams},
		{"losses", 60 * time.Second, true, losses},
		{"losses-bf16", 45 * time.Second, true, lossesBF16},
		{"same-bits", 45 * time.Second, true, sameBits},
		{"two-nodes", 60 * time.Second, true, twoNodes},
		{"sanitizer", 100 * time.Second, true, sanitizer},
		{"benchmark", 6 * time.Minute, true, benchmark},
	}
}

func names() (all []string) {
	for _, s := range steps() {
		all = append(all, s.name)
	}
	return all
}

// all runs the steps one after the other and writes the page as they end.
func (c *check) all(ctx context.Context, page io.Writer) Report {
	r := Report{Passed: true}
	fmt.Fprintf(page, "ressa gpu-check, at most %v; a step with its seconds, what failed with its reason\n", c.within)
	gpu := false
	for _, s := range steps() {
		o := Outcome{Step: s.name, Status: passed, Limit: s.limit.Seconds()}
		switch {
		case s.gpu && !gpu:
			o.Status, o.Lines = skipped, []string{"there is no GPU that can be used: see device"}
		case ctx.Err() != nil:
			o.Status, o.Lines = skipped, []string{"the check's time is over"}
		default:
			c.one(ctx, s, &o)
		}
		if s.name == "device" {
			gpu = o.Status == passed
			if g, ok := o.Data.(gpuDescription); ok {
				r.GPU = g.Name
			}
		}
		r.Passed = r.Passed && (o.Status == passed || o.Status == absent)
		r.Steps = append(r.Steps, o)
		o.write(page)
	}
	r.Seconds = time.Since(c.began).Seconds()
	fmt.Fprintln(page, r.verdict())
	return r
}

// one runs a step within its limit.
func (c *check) one(ctx context.Context, s step, o *Outcome) {
	limit := s.limit
	if other, ok := c.limits[s.name]; ok {
		limit = other
	}
	o.Limit = limit.Seconds()
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	err := s.run(within, c, o)
	o.Seconds = time.Since(began).Seconds()
	switch {
	case err == nil:
		return
	case errors.Is(err, errAbsent):
		o.Status = absent
	case ctx.Err() != nil:
		o.Status, err = failing, fmt.Errorf("ended: the check's time is over, or it was interrupted (%w)", ctx.Err())
	case within.Err() != nil:
		o.Status, err = failing, fmt.Errorf("not done within %v, and ended", limit)
	default:
		o.Status = failing
	}
	o.Lines = append(lines(err.Error()), o.Lines...)
}
