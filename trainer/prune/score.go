package prune

import (
	"context"
	"fmt"
	"math"

	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/model"
)

// Method says how weights are scored; the lowest scores of a pattern are pruned.
type Method string

const (
	// Magnitude scores |W|.
	Magnitude Method = "magnitude"
	// Wanda scores |W|·√(mean over calibration tokens of x_j²) (Sun et al., arXiv
	// 2306.11695). The published code takes the mean over samples of ‖x_j‖²: that
	// differs by one factor for the whole matrix, so the masks are the same.
	Wanda Method = "wanda"
)

// ParseMethod returns the method of that name.
func ParseMethod(name string) (Method, error) {
	switch m := Method(name); m {
	case Magnitude, Wanda:
		return m, nil
	}
	return "", fmt.Errorf("pruning method %q is unknown, want %s or %s", name, Magnitude, Wanda)
}

// Options say how one tower is pruned.
type Options struct {
	Method  Method
	Pattern sparse.Pattern
	// Granularity of an unstructured pattern: PerRow for a language model,
	// PerMatrix for a vision encoder, as published. Ignored by n:m.
	Granularity Granularity
	// Calibration holds the statistics that Wanda needs.
	Calibration *Calibration
}

// Fits returns an error that names the first prunable weight of a tower whose rows
// cannot be cut into the groups of a pattern: it needs no weights, so that it can
// be asked before anything is computed or written.
func Fits(tower model.Tower, p sparse.Pattern) error {
	for _, n := range tower.Linears() {
		if !tower.Prunable(n) {
			continue
		}
		if err := p.Fits(n.In()); err != nil {
			return fmt.Errorf("%s: %w", n.Weight.Name, err)
		}
	}
	return nil
}

// Compute returns the masks of a tower's prunable linears, in canonical order.
// Scores are products in float64. Among equal scores the weight with the lower
// index goes first. It reads the weights as loaded, Param.Value, and changes
// nothing. n:m masks are made on the device; under an unstructured pattern one layer
// is held on the host at a time.
func Compute(ctx context.Context, l *model.Lane, tower model.Tower, o Options) (Masks, error) {
	if _, err := ParseMethod(string(o.Method)); err != nil {
		return nil, err
	}
	if err := o.Pattern.Validate(); err != nil {
		return nil, err
	}
	if err := Fits(tower, o.Pattern); err != nil {
		return nil, fmt.Errorf("prune %w", err)
	}
	var masks Masks
	for _, n := range tower.Linears() {
		if !tower.Prunable(n) {
			continue
		}
		var norms []float64
		if o.Method == Wanda {
			s, err := o.Calibration.Of(n.Weight.Name)
			if err != nil {
				return nil, err
			}
			if len(s.SumSquares) != n.In() {
				return nil, fmt.Errorf("prune: calibration of %s has %d inputs, want %d", n.Weight.Name, len(s.SumSquares), n.In())
			}
			norms = s.Norms()
		}
		mask, err := o.mask(ctx, l, n, norms)
		if err != nil {
			return nil, fmt.Errorf("prune %s: %w", n.Weight.Name, err)
		}
		masks = append(masks, Entry{Name: n.Weight.Name, Mask: mask})
	}
	return masks, nil
}

// mask returns the mask of one linear. Absent norms are 1.
func (o Options) mask(ctx context.Context, l *model.Lane, n *model.Linear, norms []float64) (sparse.Mask, error) {
	if o.Pattern.Structured() {
		return selectGroups(ctx, l, n.Weight.Value, norms, o.Pattern)
	}
	w, err := weights(ctx, l, n.Weight.Value)
	if err != nil {
		return sparse.Mask{}, err
	}
	if norms == nil {
		norms = ones(n.In())
	}
	return selectShare(w, n.Out(), n.In(), norms, o.Pattern, o.Granularity)
}

func ones(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// score writes |w|·norm of row-major w over len(norms) columns.
func score(dst []float64, w []float32, norms []float64) {
	for i, v := range w {
		dst[i] = math.Abs(float64(v)) * norms[i%len(norms)]
	}
}

// weights downloads a tensor as float32.
func weights(ctx context.Context, l *model.Lane, t kernels.Tensor) ([]float32, error) {
	raw := make([]byte, t.Bytes())
	l.Stream.Download(raw, t)
	if err := l.Stream.Synchronize(ctx); err != nil {
		return nil, err
	}
	d := safetensors.F32
	if t.DType == kernels.BF16 {
		d = safetensors.BF16
	}
	out := make([]float32, t.Len())
	return out, safetensors.DecodeFloat32(out, raw, d)
}
