package layer

import (
	"ressa/kernels"
	"ressa/trainer/model"
)

// residual is the residual stream between two halves of blocks, (B·T, C): x, and
// what is still to be added to it. Adding waits for the norm that follows, which
// reads the sum once more.
type residual struct {
	x, y kernels.Tensor // y is absent where nothing is to be added
	kept bool           // somebody keeps x: the sum goes into y, else into x
}

// norm writes n = norm(x + y) and returns the sum and the statistics.
func (r residual) norm(l *model.Lane, n kernels.Tensor, norm *Norm, v model.Variant) (kernels.Tensor, stats) {
	if r.y.IsZero() {
		return r.x, norm.forward(l, n, r.x, v)
	}
	h := r.sum()
	s := norm.forwardSum(l, n, h, r.x, r.y, v)
	r.free(l)
	return h, s
}

// join returns the sum.
func (r residual) join(l *model.Lane) kernels.Tensor {
	if r.y.IsZero() {
		return r.x
	}
	h := r.sum()
	l.Stream.Add(h, r.x, r.y)
	r.free(l)
	return h
}

func (r residual) sum() kernels.Tensor {
	if r.kept {
		return r.y
	}
	return r.x
}

// free gives back what does not hold the sum.
func (r residual) free(l *model.Lane) {
	if !r.kept {
		l.Free(r.y)
	}
}
