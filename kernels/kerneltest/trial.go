package kerneltest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"

	"ressa/kernels"
	"ressa/kernels/reference"
)

// testCase is one line of the table.
type testCase struct {
	op, name string
	strided  bool
	build    func(g *generator) *trial
	factors  kernels.DType // see [Table]
}

func (c testCase) title() string {
	if c.strided {
		return c.op + "/" + c.name + "/strided"
	}
	return c.op + "/" + c.name
}

func (c testCase) trial() *trial {
	g := newGenerator(c.title(), c.strided)
	g.factors = c.factors
	return c.build(g)
}

// trial is a case with its operands.
type trial struct {
	operands []*operand
	// run enqueues the operation; x are the operands in order.
	run func(s kernels.Stream, x []kernels.Tensor)
	// expect, where set, is what the reference runs instead of run.
	expect func(s kernels.Stream, x []kernels.Tensor)
	// carry names the outputs whose contents on the device are where the
	// reference starts from, so that each step is judged on its own.
	carry []int
	// bound returns for each output the greatest error of each element, given what
	// the reference computed; nil for identical bits.
	bound func(t *trial, want [][]float64) [][]float64
}

// with returns a trial of these operands.
func with(run func(s kernels.Stream, x []kernels.Tensor), operands ...*operand) *trial {
	return &trial{operands: operands, run: run}
}

// bytes is what all operands have together.
func (t *trial) bytes() (n int) {
	for _, o := range t.operands {
		n += len(o.data)
	}
	return n
}

// within sets the bound.
func (t *trial) within(bound func(t *trial, want [][]float64) [][]float64) *trial {
	t.bound = bound
	return t
}

// execute runs f on d from the operands' first contents and returns the contents
// of all buffers afterwards.
func (t *trial) execute(ctx context.Context, d kernels.Device, f func(kernels.Stream, []kernels.Tensor)) (after [][]byte, err error) {
	s, err := d.NewStream()
	if err != nil {
		return nil, err
	}
	var buffers []kernels.Buffer
	defer func() {
		if e := s.Close(); err == nil && e != nil {
			err = fmt.Errorf("close: %w", e)
		}
		for _, b := range buffers {
			d.Free(b)
		}
	}()
	views := make([]kernels.Tensor, len(t.operands))
	after = make([][]byte, len(t.operands))
	for i, o := range t.operands {
		b, err := d.Alloc(len(o.data))
		if err != nil {
			return nil, err
		}
		buffers = append(buffers, b)
		s.Upload(o.whole(b), slices.Clone(o.data))
		views[i], after[i] = o.tensor(b), make([]byte, len(o.data))
	}
	f(s, views)
	for i, o := range t.operands {
		s.Download(after[i], o.whole(views[i].Buffer))
	}
	return after, s.Synchronize(ctx)
}

// expected returns what the reference makes of the trial, starting from what the
// device wrote where carry says so.
func (t *trial) expected(ctx context.Context, got [][]byte) ([][]byte, error) {
	start := *t
	start.operands = slices.Clone(t.operands)
	for _, i := range t.carry {
		o := *t.operands[i]
		o.data = got[i]
		start.operands[i] = &o
	}
	f := t.run
	if t.expect != nil {
		f = t.expect
	}
	return start.execute(ctx, reference.Open(), f)
}

// absolute returns what the reference makes of the trial with the named operands
// replaced by their absolute values: for an operation that is linear in each of
// them, the magnitude that its rounding errors are measured by. want gives the
// operands named in carry.
func (t *trial) absolute(want [][]float64, named ...int) [][]float64 {
	start := *t
	start.operands = slices.Clone(t.operands)
	for _, i := range slices.Concat(named, t.carry) {
		o := *t.operands[i]
		o.data = slices.Clone(o.data)
		for r := range o.rows {
			for c := range o.cols {
				v := o.value(o.data, r, c)
				if slices.Contains(t.carry, i) {
					v = want[i][r*o.cols+c]
				}
				o.set(r, c, math.Abs(v))
			}
		}
		start.operands[i] = &o
	}
	f := t.run
	if t.expect != nil {
		f = t.expect
	}
	after, err := start.execute(context.Background(), reference.Open(), f)
	if err != nil {
		panic(fmt.Sprintf("kerneltest: the reference refuses absolute operands: %v", err))
	}
	values := make([][]float64, len(after))
	for i, o := range t.operands {
		values[i] = o.values(after[i])
	}
	return values
}

// compare returns the first differences between what a device and the reference
// made of the trial.
func (t *trial) compare(got, want [][]byte) (faults []string) {
	values := make([][]float64, len(want))
	for i, o := range t.operands {
		values[i] = o.values(want[i])
	}
	bounds := make([][]float64, len(want))
	if t.bound != nil {
		bounds = t.bound(t, values)
	}
	for i, o := range t.operands {
		if fault := o.untouched(got[i]); fault != "" {
			faults = append(faults, fault)
		}
		if o.output && !slices.Contains(t.carry, i) {
			if fault := o.differs(got[i], want[i], bounds[i]); fault != "" {
				faults = append(faults, fault)
			}
		}
		if fault := o.kept(got[i]); fault != "" {
			faults = append(faults, fault)
		}
	}
	return faults
}

// untouched compares what must not have changed: all of an input, and what lies
// outside the view of an output.
func (o *operand) untouched(got []byte) string {
	if bytes.Equal(got, o.data) {
		return ""
	}
	size := o.dtype.Size()
	for e := range len(o.data) / size {
		at := e * size
		if slices.Equal(got[at:at+size], o.data[at:at+size]) {
			continue
		}
		i, j := -1, 0
		if o.step > 0 {
			i, j = (e-o.offset)/o.step, (e-o.offset)%o.step
		}
		inside := e >= o.offset && i < o.rows && j < o.cols
		if !inside {
			return fmt.Sprintf("%s: element %d of the buffer, outside the view, was written", o.name, e)
		}
		if !o.output {
			return fmt.Sprintf("%s: input changed at (%d, %d)", o.name, i, j)
		}
	}
	return ""
}

// underflow is what an element may differ by whatever its magnitude, since a
// backend may take factors below float32's normal numbers for zero.
const underflow = 0x1p-110

// differs compares an output; the worst element is reported.
func (o *operand) differs(got, want []byte, bound []float64) string {
	worst, wi, wj, n := 0.0, 0, 0, 0
	size := o.dtype.Size()
	for i := range o.rows {
		for j := range o.cols {
			at := o.at(i, j)
			if slices.Equal(got[at:at+size], want[at:at+size]) {
				continue
			}
			g, w := o.value(got, i, j), o.value(want, i, j)
			excess := math.Inf(1)
			if bound != nil {
				b := bound[i*o.cols+j]
				if b > 0 {
					b += underflow
				}
				if e := math.Abs(g - w); !math.IsInf(w, 0) && e <= b {
					continue
				} else if b > 0 && !math.IsNaN(e) {
					excess = e / b
				}
			}
			n++
			if excess > worst {
				worst, wi, wj = excess, i, j
			}
		}
	}
	if n == 0 {
		return ""
	}
	limit := "identical bits"
	if bound != nil {
		limit = fmt.Sprintf("within %.3g", bound[wi*o.cols+wj])
	}
	return fmt.Sprintf("%s: %d of %d elements differ; worst at (%d, %d): got %v, want %v, %s", o.name, n, o.rows*o.cols, wi, wj,
		o.value(got, wi, wj), o.value(want, wi, wj), limit)
}

// kept verifies that masked elements are +0, sign bit included.
func (o *operand) kept(got []byte) string {
	if o.mask == nil {
		return ""
	}
	size := o.dtype.Size()
	for i := range o.rows {
		for j := range o.cols {
			at := o.at(i, j)
			if !o.mask.Get(i, j) && !slices.Equal(got[at:at+size], make([]byte, size)) {
				return fmt.Sprintf("%s: masked element (%d, %d) is %v (bytes %x), want +0", o.name, i, j, o.value(got, i, j), got[at:at+size])
			}
		}
	}
	return ""
}
