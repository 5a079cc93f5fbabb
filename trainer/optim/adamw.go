package optim

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"ressa/kernels"
	"ressa/trainer/model"
)

// Config are AdamW's settings beside the learning rate.
type Config struct {
	Beta1, Beta2, Eps float64
	// WeightDecay applies to matrices; tensors of one row (biases, norms) are
	// never decayed.
	WeightDecay float64
	// ClipNorm bounds the global norm of the gradient; 0 does not clip.
	ClipNorm float64
}

// DefaultConfig returns the published setting: β (0.9, 0.999), ε 1e-8, no decay,
// no clipping.
func DefaultConfig() Config { return Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8} }

// Check reports the first bad field.
func (c Config) Check() error {
	for _, f := range []struct {
		name     string
		v, limit float64
	}{{"beta1", c.Beta1, 1}, {"beta2", c.Beta2, 1}, {"eps", c.Eps, 1}, {"weight_decay", c.WeightDecay, 1e3}, {"clip_norm", c.ClipNorm, math.MaxFloat32}} {
		if !(f.v >= 0 && f.v < f.limit) {
			return fmt.Errorf("%s: %v is not within [0, %v)", f.name, f.v, f.limit)
		}
	}
	return nil
}

// Vector is the trained state of one tower on a device: values and the two
// moments, F32 (1, Layout.Len) each.
type Vector struct {
	Layout       *model.Layout
	Values, M, V kernels.Tensor
	sums         kernels.Tensor // F64 (1, slots)
}

// NewVector allocates zeroed state for a layout. Free releases it.
func NewVector(d kernels.Device, layout *model.Layout) (*Vector, error) {
	v := &Vector{Layout: layout}
	for _, t := range []*kernels.Tensor{&v.Values, &v.M, &v.V} {
		b, err := d.Alloc(max(1, layout.Len) * kernels.F32.Size())
		if err != nil {
			v.Free(d)
			return nil, fmt.Errorf("allocate %d trained values: %w", layout.Len, err)
		}
		*t = kernels.NewTensor(b, kernels.F32, 1, layout.Len)
	}
	b, err := d.Alloc(max(1, len(layout.Slots)) * kernels.F64.Size())
	if err != nil {
		v.Free(d)
		return nil, fmt.Errorf("allocate norms of %d tensors: %w", len(layout.Slots), err)
	}
	v.sums = kernels.NewTensor(b, kernels.F64, 1, len(layout.Slots))
	return v, nil
}

// Free returns the state's memory.
func (v *Vector) Free(d kernels.Device) {
	for _, t := range []kernels.Tensor{v.Values, v.M, v.V, v.sums} {
		if !t.IsZero() {
			d.Free(t.Buffer)
		}
	}
}

// SumSquares returns Σ grad² of every slot in layout order, in float64.
func (v *Vector) SumSquares(ctx context.Context, s kernels.Stream, grad kernels.Tensor) ([]float64, error) {
	n := len(v.Layout.Slots)
	if n == 0 {
		return nil, nil
	}
	offsets := make([]int, n+1)
	for i, slot := range v.Layout.Slots {
		offsets[i] = slot.Offset
	}
	offsets[n] = v.Layout.Len
	s.SegmentSumSquares(v.sums, grad, offsets)
	raw := make([]byte, v.sums.Bytes())
	s.Download(raw, v.sums)
	if err := s.Synchronize(ctx); err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
	}
	return out, nil
}

// Norm returns the Euclidean norm from sums of squares, added in order.
func Norm(sums ...[]float64) float64 {
	total := 0.0
	for _, part := range sums {
		for _, x := range part {
			total += x
		}
	}
	return math.Sqrt(total)
}

// ClipScale returns what gradients of this norm are multiplied with, as
// torch.nn.utils.clip_grad_norm_ does: min(1, ClipNorm/(norm + 1e-6)).
func (c Config) ClipScale(norm float64) float32 {
	if c.ClipNorm == 0 {
		return 1
	}
	return float32(min(1, c.ClipNorm/(norm+1e-6)))
}

// Update applies AdamW for 0-based step to values and moments.
func (v *Vector) Update(s kernels.Stream, c Config, grad kernels.Tensor, lr float64, step int, scale float32) {
	for _, r := range v.runs() {
		decay := 0.0
		if r.decays {
			decay = c.WeightDecay
		}
		s.AdamW(kernels.AdamWArgs{
			Param: v.Values.SliceCols(r.lo, r.hi), Grad: grad.SliceCols(r.lo, r.hi), M: v.M.SliceCols(r.lo, r.hi), V: v.V.SliceCols(r.lo, r.hi),
			LR: float32(lr), WeightDecay: float32(decay), Beta1: float32(c.Beta1), Beta2: float32(c.Beta2), Eps: float32(c.Eps),
			Bias1: 1 - math.Pow(c.Beta1, float64(step+1)), Bias2: 1 - math.Pow(c.Beta2, float64(step+1)), GradScale: scale,
		})
	}
}

type run struct {
	lo, hi int
	decays bool
}

// runs joins neighbouring slots that decay alike, so that a whole adapter is one
// operation.
func (v *Vector) runs() []run {
	var out []run
	for i, slot := range v.Layout.Slots {
		end := v.Layout.Len
		if i+1 < len(v.Layout.Slots) {
			end = v.Layout.Slots[i+1].Offset
		}
		decays := slot.Rows > 1
		if n := len(out); n > 0 && out[n-1].decays == decays {
			out[n-1].hi = end
			continue
		}
		out = append(out, run{slot.Offset, end, decays})
	}
	return out
}
