package model

import "ressa/kernels"

// Linear is a linear layer y = x·Wᵀ + b of a tower, with what pruning and
// training attach to it. The zero attachments are those of a frozen dense layer.
type Linear struct {
	Weight *Param // (out, in)
	Bias   *Param // (out), nil where the layer has none

	// Mask is the student's mask, U64 (out, MaskWords(in)); absent keeps all.
	Mask kernels.Tensor
	// Kept is the number of ones in Mask.
	Kept int
	// TwoOfFour says that Mask keeps at most two of each four consecutive inputs.
	TwoOfFour bool
	// Pruned, where present, replaces Weight.Value in the student: a weight that
	// the pruner rewrote, or zeroed for an adapter that is not masked.
	Pruned kernels.Tensor
	// A (r, in) and B (out, r) are the adapter's slots; nil without one.
	A, B  *Slot
	Scale float32 // alpha / r
	// Round is the dtype that the student's effective weight is rounded to.
	Round kernels.DType
}

// In returns the number of input features.
func (n *Linear) In() int { return n.frozen().In() }

// Out returns the number of output features.
func (n *Linear) Out() int { return n.frozen().Out() }

// frozen returns the weight as it was loaded, dense or packed.
func (n *Linear) frozen() kernels.LinearWeight {
	return kernels.LinearWeight{W: n.Weight.Value, Packed: n.Weight.Packed}
}

// Operand returns what the layer multiplies with in variant v. values is the
// tower's flat vector of trained values. A packed weight has no dense variant:
// operations on it fail.
func (n *Linear) Operand(values kernels.Tensor, v Variant) kernels.LinearWeight {
	if v == Dense {
		return kernels.LinearWeight{W: n.Weight.Value}
	}
	w := n.frozen()
	w.Mask, w.Kept, w.TwoOfFour, w.Round = n.Mask, n.Kept, n.TwoOfFour, n.Round
	if !n.Pruned.IsZero() {
		w.W = n.Pruned
	}
	if n.Weight.Slot != nil {
		w.W = n.Weight.Slot.View(values)
	}
	if n.A != nil {
		w.A, w.B, w.Scale = n.A.View(values), n.B.View(values), n.Scale
	}
	return w
}

// Forward writes y (T, out) for x (T, in).
func (n *Linear) Forward(l *Lane, y, x kernels.Tensor, v Variant) {
	if l.Observe != nil {
		l.Observe(n, x)
	}
	var bias kernels.Tensor
	if n.Bias != nil {
		bias = n.Bias.In(l, v)
	}
	l.Stream.LinearForward(y, x, n.Operand(l.Values, v), bias)
}

// Backward writes the gradients of what is trained into l.Grads and, unless dx
// is absent, dx (T, in), which it adds to where accumulate is set. Student only.
func (n *Linear) Backward(l *Lane, dx, dy, x kernels.Tensor, accumulate bool) {
	w := n.Operand(l.Values, Student)
	if n.A != nil {
		l.Stream.LinearBackwardAdapter(n.A.View(l.Grads), n.B.View(l.Grads), dy, x, w)
	}
	if s := n.Weight.Slot; s != nil {
		l.Stream.LinearBackwardWeight(s.View(l.Grads), dy, x, n.Mask)
	}
	if n.Bias != nil && n.Bias.Slot != nil {
		l.Stream.SumRowGroups(n.Bias.Slot.View(l.Grads), dy)
	}
	if !dx.IsZero() {
		l.Stream.LinearBackwardInput(dx, dy, w, accumulate)
	}
}
