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
	// embeddings, head) that the export dtype cannot hold: those the exported model
	// has otherwise than the trained one. It is zero after [RoundFrozen], unless
	// such parameters are trained.
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

// Merger computes the parameters of the exported model from a trained student,
// one at a time and in any order, in the Round dtype. It belongs to one goroutine.
type Merger struct {
	lane    *model.Lane
	tower   model.Tower
	remask  map[*model.Linear]kernels.Tensor
	round   kernels.DType
	linears map[*model.Param]*model.Linear
	layers  map[*model.Param]MergedLayer
	inexact map[*model.Param]int
}

// Merger returns the merger of the attachment's tower. l is a lane of the tower
// with its trained values; neither is changed.
func (a *Attachment) Merger(l *model.Lane) *Merger {
	m := NewMerger(l, a.tower, a.Options.Round)
	m.remask = a.remask
	return m
}

// NewMerger returns the merger of a tower without an attachment: it gives the
// pruned model as it is, or the dense one where there are no masks.
func NewMerger(l *model.Lane, tower model.Tower, round kernels.DType) *Merger {
	m := &Merger{lane: l, tower: tower, round: round, linears: map[*model.Param]*model.Linear{},
		layers: map[*model.Param]MergedLayer{}, inexact: map[*model.Param]int{}}
	for _, n := range tower.Linears() {
		m.linears[n.Weight] = n
	}
	return m
}

// DType returns the dtype of what Param returns: F32 or BF16.
func (m *Merger) DType() kernels.DType { return m.round }

// Param returns one parameter of the tower, or a frozen one outside all towers,
// little-endian and row-major. A linear's weight is the effective one, by the same
// kernel as in training, with exactly +0.0 at masked positions, also for
// [LoRARemask].
func (m *Merger) Param(ctx context.Context, p *model.Param) ([]byte, error) {
	n := m.linears[p]
	if n == nil {
		data, inexact, err := convert(ctx, m.lane, p.In(m.lane, model.Student), m.round)
		if err != nil {
			return nil, fmt.Errorf("merge %s: %w", p.Name, err)
		}
		m.inexact[p] = inexact
		return data, nil
	}
	w := n.Operand(m.lane.Values, model.Student)
	w.Round = m.round
	if mask, ok := m.remask[n]; ok {
		w.Mask = mask
	}
	data, layer, err := mergeLinear(ctx, m.lane, w)
	if err != nil {
		return nil, fmt.Errorf("merge %s: %w", p.Name, err)
	}
	if n.A != nil {
		layer.Name = p.Name
		m.layers[p] = layer
	}
	return data, nil
}

// Report sums up the parameters that were merged so far, in canonical order.
func (m *Merger) Report() MergeReport {
	var r MergeReport
	for _, p := range m.tower.Params() {
		if layer, ok := m.layers[p]; ok {
			r.Layers = append(r.Layers, layer)
		}
	}
	for _, n := range m.inexact {
		r.Inexact += n
	}
	return r
}

// mergeLinear computes one effective weight and what rounding did to it.
func mergeLinear(ctx context.Context, l *model.Lane, w kernels.LinearWeight) ([]byte, MergedLayer, error) {
	rows, cols := w.Out(), w.In()
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
	alone.W, alone.Packed, alone.Round = zero, kernels.PackedWeight{}, kernels.F32
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
	dst := l.Pool.Get(d, w.Out(), w.In())
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
