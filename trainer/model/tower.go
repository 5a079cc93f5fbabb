package model

import (
	"ressa/kernels"
	"ressa/trainer/data"
)

// Edge is what crosses between stages and ranks: named tensors, possibly none,
// and named integers (grids, lengths). The order of the names is fixed by the
// stage that makes the edge.
type Edge struct {
	Tensors []NamedTensor
	Ints    []NamedInts
}

// NamedTensor is one tensor of an edge, F32.
type NamedTensor struct {
	Name   string
	Tensor kernels.Tensor
}

// NamedInts is integer metadata of an edge.
type NamedInts struct {
	Name   string
	Values []int32
}

// The tensors that the towers exchange.
const (
	// Features are a vision tower's output (images·patches, hidden), before the projector.
	Features = "features"
	// Hidden is what passes between stages of one tower, (B·T, hidden).
	Hidden = "hidden"
)

// Tensor returns the tensor of that name, absent if the edge has none.
func (e Edge) Tensor(name string) kernels.Tensor {
	for _, t := range e.Tensors {
		if t.Name == name {
			return t.Tensor
		}
	}
	return kernels.Tensor{}
}

// With returns e with one more tensor.
func (e Edge) With(name string, t kernels.Tensor) Edge {
	e.Tensors = append(e.Tensors[:len(e.Tensors):len(e.Tensors)], NamedTensor{name, t})
	return e
}

// State is what a stage's forward keeps for its backward. It belongs to the
// stage that made it.
type State interface {
	// Release gives the kept tensors back without a backward.
	Release(l *Lane)
}

// Tower is a contiguous range of the layers of the vision encoder or of the
// language model, whole or one stage of it.
type Tower interface {
	// Params returns all parameters in canonical order.
	Params() []*Param
	// Linears returns all linear layers in canonical order, prunable or not.
	Linears() []*Linear
	// Prunable reports whether a layer is among those that are pruned and adapted
	// by default: the linears of the transformer blocks.
	Prunable(*Linear) bool
	// Forward computes the tower's output from the batch and what comes in (the
	// vision tower reads nothing, the language tower [Features], absent for a
	// batch without images, a later stage [Hidden]). It takes over no tensor of
	// in. With keep the state for Backward is returned, else nil. The caller frees
	// the tensors of the output, unless they are the caller's own.
	Forward(l *Lane, b *data.Batch, in Edge, v Variant, keep bool) (Edge, State)
	// Backward writes the gradients of what is trained into l.Grads and returns
	// the gradient of in, absent tensors where needInput is false. It releases s,
	// takes over no tensor of dout, and the caller frees what it returns.
	Backward(l *Lane, s State, dout Edge, needInput bool) Edge
}

// Language is a tower that ends in logits. Its output is [Hidden] after the
// final norm, (B·T, hidden).
type Language interface {
	Tower
	// Vocabulary returns the number of logits.
	Vocabulary() int
	// Logits computes (N, vocabulary) for N chosen rows of the output.
	Logits(l *Lane, rows kernels.Tensor, v Variant) kernels.Tensor
	// Width returns the width of the output.
	Width() int
	// LogitsBackward writes drows (N, hidden), the gradient of rows, and the head's
	// gradients, if it is trained; with accumulate it adds those.
	LogitsBackward(l *Lane, drows, dlogits, rows kernels.Tensor, accumulate bool)
}

// Observer is told of every input of a linear layer in forward; calibration
// uses it. x is (T, in).
type Observer func(n *Linear, x kernels.Tensor)
