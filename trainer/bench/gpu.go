package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ressa/kernels"
	cpu "ressa/kernels/cpu/bench"
	"ressa/kernels/cuda"
	gpu "ressa/kernels/cuda/bench"
	"ressa/kernels/sparse"
)

// GPUOptions says what to measure on a GPU.
type GPUOptions struct {
	Library  string // of the driver; empty for its own
	Device   int    // the GPU's number
	Cases    []gpu.Case
	Patterns []sparse.Pattern // of a layer's mask
	Computes []kernels.DType  // of ours
	Turns    int
	Turn     time.Duration // the least duration of a turn of one form
	// Python is an interpreter that has PyTorch; empty: ours stands alone. Torch is the
	// device there, cuda:N, or cpu for a machine without a GPU.
	Python, Torch string
	// Within is when no further case is begun; 0 is never. Those are named in the report.
	Within time.Duration
	// Side and Numbers are the sizes of the product and the copy that peaks are
	// measured with.
	Side, Numbers int
	// Progress is told of every case before it is measured.
	Progress func(text string)
}

// GPUReport is a whole measurement.
type GPUReport struct {
	GPU      string   `json:"gpu"`
	Kinds    []string `json:"numeric_kinds"` // of ours
	PyTorch  string   `json:"pytorch,omitempty"`
	Missing  string   `json:"pytorch_missing,omitempty"`
	Turns    int      `json:"turns"`
	Seconds  float64  `json:"seconds"` // the whole took
	OurPeak  gpu.Peak `json:"our_peak"`
	Theirs   gpu.Peak `json:"pytorch_peak"`
	Measured gpu.Peak `json:"measured_peak"` // the better of both, which floors are of
	Sheet    gpu.Peak `json:"sheet_peak"`    // 0 where no data sheet is known here
	// Agreement is by how much results differ, for each suite, in parts of the greatest,
	// when both sides compute a small case on the same numbers in float32.
	Agreement map[string]float64 `json:"agreement"`
	Cases     []GPUCase          `json:"cases"`
	LeftOut   []string           `json:"left_out,omitempty"`
}

// GPUCase is one case in all forms.
type GPUCase struct {
	gpu.Case
	// Activations is how many numbers go into the case and come out, in float32 of ours
	// and bfloat16 of PyTorch's. They are part of the peaks.
	Activations int64       `json:"activations"`
	Ours        []OurForm   `json:"ours"`
	Theirs      []TheirForm `json:"pytorch,omitempty"`
}

// OurForm is a case on a device of ours.
type OurForm struct {
	Compute string     `json:"compute"`
	Pattern string     `json:"pattern,omitempty"`
	Step    cpu.Spread `json:"step_seconds"`
	Parts   []GPUPart  `json:"parts"`
	Peak    int64      `json:"peak_bytes"`
	// Ratios are PyTorch's time divided by ours of the same turn, by its form, and
	// PeakRatios our peak divided by PyTorch's.
	Ratios     map[string]cpu.Spread `json:"ratios,omitempty"`
	PeakRatios map[string]float64    `json:"peak_ratios,omitempty"`

	subject *gpu.Subject
	turns   []float64
	parts   [][]float64
}

// GPUPart is one operation of ours beside its floors: the time that the measured peak
// and the data sheet's allow, divided by the median.
type GPUPart struct {
	Name    string     `json:"name"`
	Flops   float64    `json:"flops"`
	Bytes   float64    `json:"bytes"`
	Seconds cpu.Spread `json:"seconds"`
	Share   float64    `json:"share_of_measured"`
	OfSheet float64    `json:"share_of_sheet,omitempty"`
}

// staging is the pinned memory of a stream, which belongs to no layer; small, since its
// twin counts in the peak.
const staging = 1 << 20

// agreed is the greatest difference between both sides that can be rounding.
const agreed = 1e-2

// RunGPU measures ours and PyTorch on one GPU, in turns. A form of PyTorch's that it
// cannot run is named with its reason; anything else that fails ends the measurement,
// whose report then has the cases before.
func RunGPU(ctx context.Context, o GPUOptions) (_ *GPUReport, err error) {
	began := time.Now()
	device := cuda.Options{Library: o.Library, Device: o.Device, Staging: staging}
	base, err := cuda.Open(device) // keeps the context while cases open and close devices
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	r := &GPUReport{Turns: o.Turns, Agreement: map[string]float64{}}
	about, _ := cuda.Describe(base)
	r.GPU = about.Name
	r.Sheet, _ = gpu.Sheet(r.GPU)
	var other *rival
	if o.Python == "" {
		r.Missing = "not asked for"
	} else {
		o.Progress("starting PyTorch")
		if other, err = startRival(ctx, o.Python, o.Torch); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, other.stop(err != nil)) }()
		r.PyTorch = other.hello.Kind
		if err := r.agree(ctx, base, other); err != nil {
			return nil, err
		}
	}
	if err := r.peaks(ctx, o, device, other); err != nil {
		return nil, err
	}
	var stock gpu.Stock
	for _, c := range o.Cases {
		if o.Within > 0 && time.Since(began) > o.Within {
			r.LeftOut = append(r.LeftOut, c.String())
			continue
		}
		o.Progress(c.String())
		row, err := o.measure(ctx, device, other, &stock, c)
		if err != nil {
			return r, fmt.Errorf("%v: %w", c, err)
		}
		r.add(row)
		r.Seconds = time.Since(began).Seconds()
	}
	return r, nil
}

// agree compares results of small cases.
func (r *GPUReport) agree(ctx context.Context, d kernels.Device, other *rival) error {
	half, err := sparse.ParsePattern("2:4")
	if err != nil {
		return err
	}
	for _, c := range []gpu.Case{
		{Suite: gpu.Layer, Tokens: 12, Out: 24, In: 32, Rank: 4},
		{Suite: gpu.Attention, Tokens: 10, Heads: 2, HeadDim: 16, Causal: true}, {Suite: gpu.Attention, Tokens: 10, Heads: 2, HeadDim: 16},
		{Suite: gpu.Loss, Tokens: 5, Vocabulary: 50},
	} {
		in, err := gpu.Inputs(c, half)
		if err != nil {
			return err
		}
		ours, err := gpu.Compute(ctx, d, c, in)
		if err != nil {
			return err
		}
		var reply struct {
			Outputs map[string][]float32 `json:"outputs"`
		}
		if err := other.ask(request{Do: "compute", Case: &c, Inputs: in}, turnPatience, &reply); err != nil {
			return err
		}
		for name, v := range ours {
			d, err := difference(v, reply.Outputs[name])
			if err == nil && d > agreed {
				err = fmt.Errorf("ours differs by %.2g of the greatest, want at most %v", d, agreed)
			}
			if err != nil {
				return fmt.Errorf("%v: both sides do not compute the same %s: %w", c, name, err)
			}
			r.Agreement[c.Suite] = max(r.Agreement[c.Suite], d)
		}
	}
	return nil
}

// difference is the greatest of two results, in parts of the greatest number.
func difference(a, b []float32) (float64, error) {
	if len(a) != len(b) {
		return 0, fmt.Errorf("%d numbers beside %d", len(a), len(b))
	}
	most, off := 0.0, 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		if d != d {
			return d, errors.New("not a number")
		}
		most, off = max(most, float64(a[i]), -float64(a[i])), max(off, d, -d)
	}
	if most == 0 {
		return 0, errors.New("all are zero")
	}
	return off / most, nil
}

// peaks measures what the GPU can do, by the better of both sides.
func (r *GPUReport) peaks(ctx context.Context, o GPUOptions, device cuda.Options, other *rival) (err error) {
	o.Progress("measuring peaks")
	device.Compute = kernels.BF16
	if r.OurPeak, err = gpu.Measured(ctx, device, o.Side, o.Numbers, o.Turn); err != nil {
		return err
	}
	if other != nil {
		if err := other.ask(request{Do: "peaks", Side: o.Side, Numbers: o.Numbers, Least: o.Turn.Seconds()}, turnPatience, &r.Theirs); err != nil {
			return err
		}
	}
	r.Measured = gpu.Peak{Flops: max(r.OurPeak.Flops, r.Theirs.Flops), Bytes: max(r.OurPeak.Bytes, r.Theirs.Bytes)}
	return nil
}

// measure opens a case in all forms and gives each its turns.
func (o GPUOptions) measure(ctx context.Context, device cuda.Options, other *rival, stock *gpu.Stock, c gpu.Case) (row GPUCase, err error) {
	row.Case, row.Activations = c, c.Activations()
	defer func() {
		for _, f := range row.Ours {
			err = errors.Join(err, f.subject.Close())
		}
		if other != nil && err == nil {
			err = other.ask(request{Do: "close"}, turnPatience, &struct{}{})
		}
	}()
	patterns := o.Patterns
	if c.Suite != gpu.Layer {
		patterns = []sparse.Pattern{{}}
	}
	for _, p := range patterns {
		for _, compute := range o.Computes {
			device.Compute = compute
			s, err := gpu.Open(ctx, device, stock, c, p, o.Turn)
			if err != nil {
				return row, err
			}
			f := OurForm{Compute: compute.String(), subject: s, parts: make([][]float64, len(s.Parts))}
			if c.Suite == gpu.Layer {
				f.Pattern = p.String()
			}
			row.Ours = append(row.Ours, f)
		}
	}
	if other != nil && c.Suite != gpu.Memory {
		row.Theirs = []TheirForm{{Form: Eager}, {Form: Compiled}}
	}
	for i := range row.Theirs {
		if err := other.open(&row.Theirs[i], c, o.Turn); err != nil {
			return row, err
		}
	}
	for range o.Turns {
		for i := range row.Ours {
			f := &row.Ours[i]
			times, err := f.subject.Turn(ctx)
			if err != nil {
				return row, err
			}
			for k := range f.parts {
				f.parts[k] = append(f.parts[k], times[k])
			}
			f.turns = append(f.turns, times[len(f.parts)])
		}
		for i := range row.Theirs {
			if f := &row.Theirs[i]; f.Missing == "" {
				if err := other.turn(f); err != nil {
					return row, err
				}
			}
		}
	}
	for i := range row.Ours {
		row.Ours[i].Peak = row.Ours[i].subject.Peak()
	}
	return row, nil
}

// add makes medians and ratios of a case's turns.
func (r *GPUReport) add(row GPUCase) {
	for i := range row.Theirs {
		f := &row.Theirs[i]
		f.Step, f.Forward = cpu.SpreadOf(f.turns), cpu.SpreadOf(f.forward)
	}
	for i := range row.Ours {
		f := &row.Ours[i]
		f.Step = cpu.SpreadOf(f.turns)
		for k, p := range f.subject.Parts {
			s := cpu.SpreadOf(f.parts[k])
			f.Parts = append(f.Parts, GPUPart{p.Name, p.Flops, p.Bytes, s, r.Measured.Floor(p) / s.Median, r.Sheet.Floor(p) / s.Median})
		}
		f.Ratios, f.PeakRatios = map[string]cpu.Spread{}, map[string]float64{}
		for _, t := range row.Theirs {
			if t.Missing != "" {
				continue
			}
			f.Ratios[t.Form] = ratios(t.turns, f.turns)
			if t.Peak > 0 {
				f.PeakRatios[t.Form] = float64(f.Peak) / float64(t.Peak)
			}
		}
		if kind := f.subject.Kind(); !slices.Contains(r.Kinds, kind) {
			r.Kinds = append(r.Kinds, kind)
		}
	}
	r.Cases = append(r.Cases, row)
}
