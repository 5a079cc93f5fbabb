package adapter

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"ressa/kernels"
	"ressa/trainer/model"
)

// MergedLayer says what happened to one linear with factors.
type MergedLayer struct {
	Name string
	Kept int // weights that the mask keeps
	// Updated counts kept weights with s·B·A ≠ 0, Lost those among them whose
	// rounded effective weight equals the rounded weight without the adapter.
	Updated, Lost int
}

// MergeReport sums up a merge.
type MergeReport struct {
	Layers []MergedLayer // in canonical order; only layers with factors
	// Inexact counts values outside the linears' weights (norms, biases,
	// embeddings) that the export dtype cannot hold: those the exported model has
	// otherwise than the trained one. It is zero where the model was loaded in the
	// export dtype.
	Inexact int
}

// Lost returns the share of adapter updates that rounding lost, in [0, 1].
func (r MergeReport) Lost() float64 {
	updated, lost := 0, 0
	for _, l := range r.Layers {
		updated, lost = updated+l.Updated, lost+l.Lost
	}
	if updated == 0 {
		return 0
	}
	return float64(lost) / float64(updated)
}

// Add appends the report of another tower.
func (r *MergeReport) Add(other MergeReport) {
	r.Layers = append(r.Layers, other.Layers...)
	r.Inexact += other.Inexact
}

// Emit takes one merged parameter: little-endian elements of dtype (F32 or
// BF16), row-major. data is only valid during the call.
type Emit func(p *model.Param, dtype kernels.DType, data []byte) error

// Merge hands every parameter of the student to emit, in canonical order and in
// the options' Round dtype: a linear's weight is the effective one, by the same
// kernel as in training, masked positions exactly +0.0, also for [LoRARemask]. l
// is a lane of the tower with its trained values; the tower is not changed. One
// layer is held on the host at a time.
func (a *Attachment) Merge(ctx context.Context, l *model.Lane, emit Emit) (MergeReport, error) {
	return merge(ctx, l, a.tower, a.remask, a.Options.Round, emit)
}

// MergePruned does what [Attachment.Merge] does for a tower without an
// attachment: the pruned model as it is, rounded to round.
func MergePruned(ctx context.Context, l *model.Lane, tower model.Tower, round kernels.DType, emit Emit) (MergeReport, error) {
	return merge(ctx, l, tower, nil, round, emit)
}

func merge(ctx context.Context, l *model.Lane, tower model.Tower, remask map[*model.Linear]kernels.Tensor, round kernels.DType, emit Emit) (MergeReport, error) {
	var report MergeReport
	linears := map[*model.Param]*model.Linear{}
	for _, n := range tower.Linears() {
		linears[n.Weight] = n
	}
	for _, p := range tower.Params() {
		var data []byte
		var err error
		if n := linears[p]; n != nil {
			w := n.Operand(l.Values, model.Student)
			w.Round = round
			if mask, ok := remask[n]; ok {
				w.Mask = mask
			}
			var layer MergedLayer
			if data, layer, err = mergeLinear(ctx, l, w); n.A != nil {
				layer.Name = p.Name
				report.Layers = append(report.Layers, layer)
			}
		} else {
			var inexact int
			data, inexact, err = convert(ctx, l, p.In(l, model.Student), round)
			report.Inexact += inexact
		}
		if err != nil {
			return MergeReport{}, fmt.Errorf("merge %s: %w", p.Name, err)
		}
		if err := emit(p, round, data); err != nil {
			return MergeReport{}, err
		}
	}
	return report, nil
}

// mergeLinear computes one effective weight and what rounding did to it.
func mergeLinear(ctx context.Context, l *model.Lane, w kernels.LinearWeight) ([]byte, MergedLayer, error) {
	rows, cols := w.W.Rows, w.W.Cols
	var layer MergedLayer
	effective, err := effectiveWeight(ctx, l, w, w.Round)
	if err != nil || w.A.IsZero() {
		return effective, layer, err
	}
	plain := w
	plain.A, plain.B = kernels.Tensor{}, kernels.Tensor{}
	before, err := effectiveWeight(ctx, l, plain, w.Round)
	if err != nil {
		return nil, layer, err
	}
	zero := l.Scratch(rows, cols)
	defer l.Free(zero)
	l.Stream.Fill(zero, 0)
	alone := w
	alone.W, alone.Round = zero, kernels.F32
	update, err := effectiveWeight(ctx, l, alone, kernels.F32)
	if err != nil {
		return nil, layer, err
	}
	layer.Kept = rows * cols
	if !w.Mask.IsZero() {
		if layer.Kept, err = countKept(ctx, l, w.Mask); err != nil {
			return nil, layer, err
		}
	}
	size := w.Round.Size()
	for i := range rows * cols {
		// At masked positions the update is +0 as well.
		if math.Float32frombits(binary.LittleEndian.Uint32(update[4*i:])) == 0 {
			continue
		}
		layer.Updated++
		if bytes.Equal(effective[i*size:(i+1)*size], before[i*size:(i+1)*size]) {
			layer.Lost++
		}
	}
	return effective, layer, nil
}

func effectiveWeight(ctx context.Context, l *model.Lane, w kernels.LinearWeight, d kernels.DType) ([]byte, error) {
	dst := l.Pool.Get(d, w.W.Rows, w.W.Cols)
	defer l.Free(dst)
	l.Stream.EffectiveWeight(dst, w)
	return download(ctx, l, dst)
}

// convert returns a tensor in dtype d and how many of its values d cannot hold.
func convert(ctx context.Context, l *model.Lane, t kernels.Tensor, d kernels.DType) ([]byte, int, error) {
	if t.DType == d {
		data, err := download(ctx, l, t)
		return data, 0, err
	}
	dst := l.Pool.Get(d, t.Rows, t.Cols)
	defer l.Free(dst)
	l.Stream.Convert(dst, t)
	data, err := download(ctx, l, dst)
	if err != nil || d == kernels.F32 {
		return data, 0, err
	}
	exact, err := download(ctx, l, t)
	if err != nil {
		return nil, 0, err
	}
	inexact := 0
	for i := range t.Len() {
		// A float32 that BF16 holds has nothing in its lower half.
		if binary.LittleEndian.Uint16(exact[4*i:]) != 0 {
			inexact++
		}
	}
	return data, inexact, nil
}

func countKept(ctx context.Context, l *model.Lane, mask kernels.Tensor) (int, error) {
	words, err := download(ctx, l, mask)
	if err != nil {
		return 0, err
	}
	kept := 0
	for _, w := range words {
		kept += bits.OnesCount8(w)
	}
	return kept, nil
}

func download(ctx context.Context, l *model.Lane, t kernels.Tensor) ([]byte, error) {
	if err := l.Pool.Err(); err != nil {
		return nil, fmt.Errorf("out of device memory: %w", err)
	}
	data := make([]byte, t.Bytes())
	l.Stream.Download(data, t)
	if err := l.Stream.Synchronize(ctx); err != nil {
		return nil, err
	}
	return data, nil
}
