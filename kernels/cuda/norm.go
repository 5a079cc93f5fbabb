//go:build cgo && linux

package cuda

import "ressa/kernels"

// The argument structs of norm.cu.
type (
	normArgs struct {
		head
		y, x, p, q, gamma, beta, mean, rstd view
		eps                                 float32
		_                                   int32
	}
	normBackwardArgs struct {
		head
		dx, dy, x, gamma, mean, rstd, dgamma, dbeta view
		accumulate, _                               int32
	}
)

// normRows is NORM_ROWS of norm.cu.
const normRows = 64

// LayerNorm writes y = (x − mean)·rstd·gamma + beta and the statistics.
func (s *Stream) LayerNorm(y, x, gamma, beta kernels.Tensor, eps float32, mean, rstd kernels.Tensor) {
	s.fail(kernels.CheckLayerNorm(y, x, gamma, beta, mean, rstd))
	s.norm("layer norm", y, x, kernels.Tensor{}, kernels.Tensor{}, gamma, beta, eps, mean, rstd)
}

// RMSNorm writes y = x·rstd·gamma and rstd.
func (s *Stream) RMSNorm(y, x, gamma kernels.Tensor, eps float32, rstd kernels.Tensor) {
	s.fail(kernels.CheckRMSNorm(y, x, gamma, rstd))
	s.norm("rms norm", y, x, kernels.Tensor{}, kernels.Tensor{}, gamma, kernels.Tensor{}, eps, kernels.Tensor{}, rstd)
}

// AddLayerNorm writes h = x + r and LayerNorm of h, by the same kernel as LayerNorm.
func (s *Stream) AddLayerNorm(y, h, x, r, gamma, beta kernels.Tensor, eps float32, mean, rstd kernels.Tensor) {
	s.fail(kernels.CheckAddLayerNorm(y, h, x, r, gamma, beta, mean, rstd))
	s.norm("add and layer norm", y, h, x, r, gamma, beta, eps, mean, rstd)
}

// AddRMSNorm writes h = x + r and RMSNorm of h, by the same kernel as RMSNorm.
func (s *Stream) AddRMSNorm(y, h, x, r, gamma kernels.Tensor, eps float32, rstd kernels.Tensor) {
	s.fail(kernels.CheckAddRMSNorm(y, h, x, r, gamma, rstd))
	s.norm("add and rms norm", y, h, x, r, gamma, kernels.Tensor{}, eps, kernels.Tensor{}, rstd)
}

// norm takes absent tensors for what an operation lacks.
func (s *Stream) norm(op string, y, x, p, q, gamma, beta kernels.Tensor, eps float32, mean, rstd kernels.Tensor) {
	a := &normArgs{
		y: s.view(op, "y", y), x: s.view(op, "x", x), p: s.optional(op, "x", p), q: s.optional(op, "r", q),
		gamma: s.view(op, "gamma", gamma), beta: s.optional(op, "beta", beta),
		mean: s.optional(op, "mean", mean), rstd: s.view(op, "rstd", rstd), eps: eps,
	}
	launch(s, "normalise", x.Rows, a)
}

// LayerNormBackward writes dx, or adds to it, and, where they are present, dgamma and
// dbeta.
func (s *Stream) LayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd kernels.Tensor, accumulate bool) {
	s.fail(kernels.CheckLayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd))
	s.normBackward("layer norm backward", dx, dgamma, dbeta, dy, x, gamma, mean, rstd, accumulate)
}

// RMSNormBackward writes dx, or adds to it, and dgamma where it is present.
func (s *Stream) RMSNormBackward(dx, dgamma, dy, x, gamma, rstd kernels.Tensor, accumulate bool) {
	s.fail(kernels.CheckRMSNormBackward(dx, dgamma, dy, x, gamma, rstd))
	s.normBackward("rms norm backward", dx, dgamma, kernels.Tensor{}, dy, x, gamma, kernels.Tensor{}, rstd, accumulate)
}

func (s *Stream) normBackward(op string, dx, dgamma, dbeta, dy, x, gamma, mean, rstd kernels.Tensor, accumulate bool) {
	a := normBackwardArgs{
		dx: s.view(op, "dx", dx), dy: s.view(op, "dy", dy), x: s.view(op, "x", x), gamma: s.view(op, "gamma", gamma),
		mean: s.optional(op, "mean", mean), rstd: s.view(op, "rstd", rstd),
		accumulate: flag(accumulate),
	}
	s.normParameters(s.optional(op, "dgamma", dgamma), s.optional(op, "dbeta", dbeta), a)
	launch(s, "norm_backward", x.Rows, &a)
}

// normParameters writes the gradients that are present: sums of normRows rows, then
// the sum of those.
func (s *Stream) normParameters(dgamma, dbeta view, a normBackwardArgs) {
	if s.err != nil || dgamma.data == 0 && dbeta.data == 0 {
		return
	}
	rows, cols := a.x.rows, a.x.cols
	chunks := ceil(rows, normRows)
	part := view{rows: chunks, cols: cols, stride: cols, dtype: int32(kernels.F32)}
	at := s.temporary(int(2 * 4 * max(1, chunks) * cols))
	sums := []struct{ whole, part *view }{{&dgamma, &a.dgamma}, {&dbeta, &a.dbeta}}
	for i, p := range sums {
		if p.whole.data != 0 {
			*p.part = part
			p.part.data = at + uint64(i)*uint64(4*chunks*cols)
		}
	}
	launch(s, "norm_parameters", int(chunks*ceil(cols, threads)), &a)
	for _, p := range sums {
		if p.whole.data != 0 {
			each(s, "sum_rows", *p.whole, &sumRowsArgs{dst: *p.whole, x: *p.part, groups: 1, length: chunks})
		}
	}
}
