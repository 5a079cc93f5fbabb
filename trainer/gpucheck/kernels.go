package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// someOperations are those that -short runs of what the driver compiles.
const someOperations = "/^(Contract|Add|Gemm|AttentionForward)$"

// kernelsOf runs the table of cases in one form of the kernels.
func kernelsOf(form string) func(context.Context, *check, *Outcome) error {
	return func(ctx context.Context, c *check, o *Outcome) error {
		name, operations := form, ""
		switch {
		case c.short && form == "ptx":
			operations = someOperations
		case c.short:
			name = "small-" + form
		}
		return c.tests(ctx, o, "operations against the reference, each case twice", 3, "-test.run", "^TestOnLibrary$/^"+name+"$"+operations)
	}
}

// streams runs the tests of memory, transfers, faults and the like.
func streams(ctx context.Context, c *check, o *Outcome) error {
	return c.tests(ctx, o, "tests of memory, transfers, streams and faults", 1, "-test.run", "^Test", "-test.skip", "^TestOnLibrary$")
}

// tested finds a test's result: its depth, by four spaces, what came of it, its name.
var tested = regexp.MustCompile(`(?m)^( *)--- (PASS|FAIL|SKIP): (\S+) \(`)

// results are how many tests at a depth passed, failed and were skipped.
type results struct {
	Passed  int      `json:"passed"`
	Failed  []string `json:"failed,omitempty"`
	Skipped int      `json:"skipped"`
}

func resultsOf(text string, depth int) (r results) {
	for _, m := range tested.FindAllStringSubmatch(text, -1) {
		if len(m[1]) != 4*(depth-1) {
			continue
		}
		switch m[2] {
		case "PASS":
			r.Passed++
		case "SKIP":
			r.Skipped++
		default:
			r.Failed = append(r.Failed, m[3][strings.LastIndex(m[3], "/")+1:])
		}
	}
	return r
}

// complaint is a line that a test wrote.
var complaint = regexp.MustCompile(`^\s+\w+\.go:\d+: (.*)`)

// tests runs tests of package cuda on the driver; the results of interest are at a depth.
func (c *check) tests(ctx context.Context, o *Outcome, what string, depth int, args ...string) error {
	args = append([]string{"-cuda.library", c.library, "-test.v", "-test.timeout", "0"}, args...)
	said, err := c.own(ctx, "cuda.test", args...)
	r := resultsOf(string(said.stdout), depth)
	o.Data = r
	if ctx.Err() != nil {
		o.Lines = append(o.Lines, fmt.Sprintf("%d %s had passed", r.Passed, what))
		return ctx.Err()
	}
	if len(r.Failed) > 0 {
		for _, line := range lines(string(said.stdout)) {
			if m := complaint.FindStringSubmatch(line); m != nil && !strings.Contains(m[1], "-cuda.library") {
				o.Lines = append(o.Lines, m[1])
			}
		}
		return fmt.Errorf("%d of %d %s: %s", len(r.Failed), len(r.Failed)+r.Passed, what, strings.Join(r.Failed, ", "))
	}
	if err != nil {
		return err
	}
	if r.Passed == 0 {
		return fmt.Errorf("no test ran: %s", said.last())
	}
	o.Lines = []string{fmt.Sprintf("%d %s", r.Passed, what)}
	if r.Skipped > 0 {
		o.Lines[0] += fmt.Sprintf("; %d that only the shim can check left out", r.Skipped)
	}
	return nil
}
