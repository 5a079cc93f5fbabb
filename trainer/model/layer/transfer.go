package layer

import (
	"encoding/binary"

	"ressa/kernels"
	"ressa/trainer/model"
)

// Ints uploads v as I32 (1, len(v)).
func Ints(l *model.Lane, v []int32) kernels.Tensor {
	t := l.Pool.Get(kernels.I32, 1, len(v))
	raw := l.Pool.Host(4 * len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(raw[4*i:], uint32(x))
	}
	l.Stream.Upload(t, raw)
	return t
}

// Copy returns a copy of x (F32) in scratch memory.
func Copy(l *model.Lane, x kernels.Tensor) kernels.Tensor {
	t := l.Scratch(x.Rows, x.Cols)
	l.Stream.Convert(t, x)
	return t
}

// ZeroGradients writes zero gradients for whatever is trained among parameters
// and linears: the backward of a forward that did not use them.
func ZeroGradients(l *model.Lane, ps []*model.Param, ns []*model.Linear) {
	slots := func(ss ...*model.Slot) {
		for _, s := range ss {
			if s != nil {
				l.Stream.Fill(s.View(l.Grads), 0)
			}
		}
	}
	for _, p := range ps {
		slots(p.Slot)
	}
	for _, n := range ns {
		slots(n.A, n.B)
	}
}
