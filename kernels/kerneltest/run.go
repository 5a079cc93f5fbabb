package kerneltest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"ressa/kernels"
)

// cases is the table.
func cases() []testCase {
	return slices.Concat(elementwiseCases(), rowCases(), activationCases(), gemmCases(), linearCases(), attentionCases(),
		normCases(), objectiveCases(), optimiserCases())
}

// byOperation calls f with each operation's cases, in the order of the table.
func byOperation(all []testCase, f func(op string, cases []testCase)) {
	var order []string
	groups := map[string][]testCase{}
	for _, c := range all {
		if groups[c.op] == nil {
			order = append(order, c.op)
		}
		groups[c.op] = append(groups[c.op], c)
	}
	for _, op := range order {
		f(op, groups[op])
	}
}

// Run holds the device that open returns to the table of cases and to the parts of
// the contract that hold for all operations. Each case runs twice: the second
// run must give the bits of the first.
func Run(t *testing.T, open func() kernels.Device) {
	t.Run("Contract", func(t *testing.T) { contract(t, open) })
	byOperation(cases(), func(op string, cases []testCase) {
		t.Run(op, func(t *testing.T) {
			d := open()
			defer closing(t, d)
			for _, c := range cases {
				check(t, d, c)
			}
		})
	})
}

func check(t *testing.T, d kernels.Device, c testCase) {
	t.Helper()
	faults, err := c.faults(t.Context(), d)
	if err != nil {
		t.Errorf("%s: %v", c.title(), err)
	}
	for _, fault := range faults {
		t.Errorf("%s: %s", c.title(), fault)
	}
}

// faults runs the case on d, twice, and returns what is wrong with the results.
func (c testCase) faults(ctx context.Context, d kernels.Device) ([]string, error) {
	trial := c.trial()
	got, err := trial.execute(ctx, d, trial.run)
	if err != nil {
		return nil, err
	}
	want, err := trial.expected(ctx, got)
	if err != nil {
		return nil, fmt.Errorf("the reference: %w", err)
	}
	faults := trial.compare(got, want)
	again, err := trial.execute(ctx, d, trial.run)
	if err != nil {
		return faults, fmt.Errorf("second run: %w", err)
	}
	if fault := trial.same(got, again); fault != "" {
		faults = append(faults, "second run: "+fault)
	}
	return faults, nil
}

// RunThreads demands that the device gives the same bits with 1, 2, 3 and 8
// threads in all cases.
func RunThreads(t *testing.T, open func(threads int) kernels.Device) {
	byOperation(cases(), func(op string, cases []testCase) {
		t.Run(op, func(t *testing.T) {
			one := open(1)
			defer closing(t, one)
			first := make([][][]byte, len(cases))
			for i, c := range cases {
				trial := c.trial()
				var err error
				if first[i], err = trial.execute(t.Context(), one, trial.run); err != nil {
					t.Errorf("%s: %v", c.title(), err)
					return
				}
			}
			for _, threads := range []int{2, 3, 8} {
				d := open(threads)
				defer closing(t, d)
				if d.Kind() != one.Kind() {
					t.Errorf("kind is %s with %d threads, %s with 1", d.Kind(), threads, one.Kind())
				}
				for i, c := range cases {
					trial := c.trial()
					got, err := trial.execute(t.Context(), d, trial.run)
					if err != nil {
						t.Errorf("%s: %d threads: %v", c.title(), threads, err)
						return
					}
					if fault := trial.same(first[i], got); fault != "" {
						t.Errorf("%s: %d threads instead of 1: %s", c.title(), threads, fault)
					}
				}
			}
		})
	})
}

// same names the first operand whose bits differ between two runs.
func (t *trial) same(a, b [][]byte) string {
	for i, o := range t.operands {
		if !slices.Equal(a[i], b[i]) {
			return o.name + " has other bits"
		}
	}
	return ""
}

func closing(t *testing.T, d kernels.Device) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}
