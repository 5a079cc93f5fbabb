package model

import "ressa/kernels"

// Param is one named tensor of a model as it was loaded or initialised.
type Param struct {
	Name  string         // the canonical (new) Hugging Face key
	Shape []int          // as in the checkpoint
	Value kernels.Tensor // (product of the leading dimensions, last dimension); F32 or BF16
	// Packed, where present, is the weight of a linear without what its mask drops.
	// Value is then absent: nothing needs the weight dense any more.
	Packed kernels.PackedWeight
	// Slot is where the trained values live when the parameter itself is
	// trained; nil while it is frozen.
	Slot *Slot
}

// Slot is a range of the flat vector of trained values that holds one tensor.
// The same range of a gradient vector holds its gradient.
type Slot struct {
	Name       string
	Rows, Cols int
	Offset     int // elements, a multiple of [SlotAlign]
	// Mask, where present, is that of a trained weight, and Kept its ones: gradients
	// are +0 elsewhere.
	Mask kernels.Tensor
	Kept int
}

// SlotAlign is the alignment of slots in elements: 64 bytes of float32.
const SlotAlign = 16

// Len returns the number of elements.
func (s *Slot) Len() int { return s.Rows * s.Cols }

// View returns the slot's tensor (Rows, Cols) within a flat vector (1, N).
func (s *Slot) View(flat kernels.Tensor) kernels.Tensor {
	return flat.SliceCols(s.Offset, s.Offset+s.Len()).Reshape(s.Rows, s.Cols)
}

// Layout is the canonical order of the trained tensors of one tower in its flat
// vector. Reductions, norms and checkpoints follow it.
type Layout struct {
	Slots []*Slot
	Len   int // elements including alignment gaps, which stay zero
}

// Add appends a tensor and returns its slot.
func (l *Layout) Add(name string, rows, cols int) *Slot {
	s := &Slot{Name: name, Rows: rows, Cols: cols, Offset: l.Len}
	l.Slots = append(l.Slots, s)
	l.Len = (s.Offset + s.Len() + SlotAlign - 1) / SlotAlign * SlotAlign
	return s
}

// Variant says which of the two models that share the weights computes.
type Variant uint8

const (
	// Student applies masks and adapters.
	Student Variant = iota
	// Dense ignores masks, adapters and trained values: the teacher.
	Dense
)

// In returns the tensor that a parameter has in variant v: the trained one
// for the student of a trained parameter, else the frozen one.
func (p *Param) In(l *Lane, v Variant) kernels.Tensor {
	if v == Student && p.Slot != nil {
		return p.Slot.View(l.Values)
	}
	return p.Value
}
