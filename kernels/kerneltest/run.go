package kerneltest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"ressa/kernels"
)

// Table is the table of cases.
type Table struct {
	// Factors is the dtype that can represent the operands of products of matrices,
	// effective weights among them: F32, any, or BF16, for a device that rounds them.
	Factors kernels.DType
	// Once leaves out the second run of each case, where peers say enough.
	Once bool
	// Most leaves out cases whose operands have more bytes together; 0 leaves out none.
	Most int
}

func (t Table) cases() []testCase {
	all := slices.Concat(elementwiseCases(), rowCases(), activationCases(), gemmCases(), linearCases(), attentionCases(),
		normCases(), objectiveCases(), optimiserCases(), maskingCases())
	for i := range all {
		all[i].factors = t.Factors
	}
	return all
}

// cases is the table for devices that round no operands.
func cases() []testCase { return Table{}.cases() }

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

// Peer is a device that must give the bits of another one: it differs in how many
// threads it has or when it uses them.
type Peer struct {
	Name string
	Open func() kernels.Device
}

// Run is [Table.Run] of the table for devices that round no operands.
func Run(t *testing.T, open func() kernels.Device, peers ...Peer) { Table{}.Run(t, open, peers...) }

// Run holds the device that open returns to the table of cases and to the parts of
// the contract that hold for all operations. Each case runs twice there, or once, and
// once on every peer; all must give the bits of the first run.
func (table Table) Run(t *testing.T, open func() kernels.Device, peers ...Peer) {
	t.Run("Contract", func(t *testing.T) { contract(t, open) })
	byOperation(table.cases(), func(op string, cases []testCase) {
		t.Run(op, func(t *testing.T) {
			d := open()
			defer closing(t, d)
			var again []opened
			if !table.Once {
				again = append(again, opened{"second run", d})
			}
			for _, p := range peers {
				peer := p.Open()
				defer closing(t, peer)
				if peer.Kind() != d.Kind() {
					t.Errorf("%s: kind is %s, want %s", p.Name, peer.Kind(), d.Kind())
				}
				again = append(again, opened{p.Name, peer})
			}
			for _, c := range cases {
				if table.Most > 0 && c.trial().bytes() > table.Most {
					continue
				}
				faults, err := c.faults(t.Context(), d, again...)
				if err != nil {
					t.Errorf("%s: %v", c.title(), err)
				}
				for _, fault := range faults {
					t.Errorf("%s: %s", c.title(), fault)
				}
			}
		})
	})
}

// opened is a device that must give the bits of another one, under its name in
// messages.
type opened struct {
	name   string
	device kernels.Device
}

// faults runs the case on d, then on each of again, and returns what is wrong with
// the results. The operands, which cost more than all runs, are made once.
func (c testCase) faults(ctx context.Context, d kernels.Device, again ...opened) ([]string, error) {
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
	for _, other := range again {
		after, err := trial.execute(ctx, other.device, trial.run)
		if err != nil {
			return faults, fmt.Errorf("%s: %w", other.name, err)
		}
		if fault := trial.same(got, after); fault != "" {
			faults = append(faults, other.name+": "+fault)
		}
	}
	return faults, nil
}

// same names the first operand whose bits differ between two runs.
func (t *trial) same(a, b [][]byte) string {
	for i, o := range t.operands {
		if !bytes.Equal(a[i], b[i]) {
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
