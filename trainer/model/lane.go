package model

import "ressa/kernels"

// Lane is what one microbatch computes with: a stream, scratch memory, the
// trained values (shared by all lanes, read only during a step) and a gradient
// vector of its own. A lane belongs to one goroutine at a time.
type Lane struct {
	Stream kernels.Stream
	Pool   *Pool
	Values kernels.Tensor // F32 (1, Layout.Len) of the tower; absent when nothing is trained
	Grads  kernels.Tensor // F32 (1, Layout.Len); absent outside training
	// Recompute is what blocks compute again in backward. No bit depends on it.
	Recompute Recompute
	// Observe, where it is set, is called with the input of every linear layer.
	Observe Observer
}

// Scratch returns an uninitialised F32 tensor (rows, cols) from the pool.
func (l *Lane) Scratch(rows, cols int) kernels.Tensor {
	return l.Pool.Get(kernels.F32, rows, cols)
}

// Free gives scratch tensors back; later operations of the lane's stream may
// reuse their memory.
func (l *Lane) Free(ts ...kernels.Tensor) {
	for _, t := range ts {
		l.Pool.Put(t)
	}
}
