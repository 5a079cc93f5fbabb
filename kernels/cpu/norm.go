//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import "ressa/kernels"

// normPartials is the greatest number of row blocks that the sums over rows for
// dgamma and dbeta are divided into.
const normPartials = 64

// LayerNorm writes y = (x − mean)·rstd·gamma + beta and the statistics.
func (s *stream) LayerNorm(y, x, gamma, beta kernels.Tensor, eps float32, mean, rstd kernels.Tensor) {
	const op = "layer norm"
	s.fail(kernels.CheckLayerNorm(y, x, gamma, beta, mean, rstd))
	g := s.norm(op, y, x, gamma, rstd)
	g.beta = s.mat(op, "beta", beta, -1, -1, f32|bf16)
	g.mean = s.mat(op, "mean", mean, -1, -1, f32)
	s.normForward(g, eps)
}

// RMSNorm writes y = x·rstd·gamma with rstd = 1/√(mean(x²) + eps).
func (s *stream) RMSNorm(y, x, gamma kernels.Tensor, eps float32, rstd kernels.Tensor) {
	s.fail(kernels.CheckRMSNorm(y, x, gamma, rstd))
	s.normForward(s.norm("rms norm", y, x, gamma, rstd), eps)
}

// AddLayerNorm writes h = x + r and the layer norm of h.
func (s *stream) AddLayerNorm(y, h, x, r, gamma, beta kernels.Tensor, eps float32, mean, rstd kernels.Tensor) {
	const op = "add and layer norm"
	s.fail(kernels.CheckAddLayerNorm(y, h, x, r, gamma, beta, mean, rstd))
	g := s.norm(op, y, h, gamma, rstd)
	g.a, g.b = s.mat(op, "x", x, -1, -1, f32), s.mat(op, "r", r, -1, -1, f32)
	g.beta = s.mat(op, "beta", beta, -1, -1, f32|bf16)
	g.mean = s.mat(op, "mean", mean, -1, -1, f32)
	s.normForward(g, eps)
}

// AddRMSNorm writes h = x + r and the RMS norm of h.
func (s *stream) AddRMSNorm(y, h, x, r, gamma kernels.Tensor, eps float32, rstd kernels.Tensor) {
	const op = "add and rms norm"
	s.fail(kernels.CheckAddRMSNorm(y, h, x, r, gamma, rstd))
	g := s.norm(op, y, h, gamma, rstd)
	g.a, g.b = s.mat(op, "x", x, -1, -1, f32), s.mat(op, "r", r, -1, -1, f32)
	s.normForward(g, eps)
}

// LayerNormBackward writes dx, or adds to it, and the gradients that are present.
func (s *stream) LayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd kernels.Tensor, accumulate bool) {
	const op = "layer norm backward"
	s.fail(kernels.CheckLayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd))
	g := s.norm(op, dx, x, gamma, rstd)
	g.dy = s.mat(op, "dy", dy, -1, -1, f32)
	g.mean = s.mat(op, "mean", mean, -1, -1, f32)
	g.dgamma = s.optional(op, "dgamma", dgamma, -1, -1, f32)
	g.dbeta = s.optional(op, "dbeta", dbeta, -1, -1, f32)
	s.normBackward(g, accumulate)
}

// RMSNormBackward writes dx, or adds to it, and dgamma where it is present.
func (s *stream) RMSNormBackward(dx, dgamma, dy, x, gamma, rstd kernels.Tensor, accumulate bool) {
	const op = "rms norm backward"
	s.fail(kernels.CheckRMSNormBackward(dx, dgamma, dy, x, gamma, rstd))
	g := s.norm(op, dx, x, gamma, rstd)
	g.dy = s.mat(op, "dy", dy, -1, -1, f32)
	g.dgamma = s.optional(op, "dgamma", dgamma, -1, -1, f32)
	s.normBackward(g, accumulate)
}

func (s *stream) norm(op string, y, x, gamma, rstd kernels.Tensor) *C.struct_rk_norm {
	g := arguments[C.struct_rk_norm](s)
	g.y = s.mat(op, "y", y, -1, -1, f32)
	g.x = s.mat(op, "x", x, -1, -1, f32)
	g.gamma = s.mat(op, "gamma", gamma, -1, -1, f32|bf16)
	g.rstd = s.mat(op, "rstd", rstd, -1, -1, f32)
	return g
}

func (s *stream) normForward(g *C.struct_rk_norm, eps float32) {
	if s.err != nil {
		return
	}
	g.eps = C.float(eps)
	rows, cols := int(g.x.rows), int(g.x.cols)
	block, tasks := rowsPerTask(rows, cols)
	g.block = C.int64_t(block)
	s.run(s.table.norm, tasks, 0, 3*rows*cols)
}

// normBackward runs the backward pass. With a gradient of a parameter, each task
// sums its rows, and the sums of the tasks are added in order.
func (s *stream) normBackward(g *C.struct_rk_norm, accumulate bool) {
	if s.err != nil {
		return
	}
	if accumulate {
		g.accumulate = 1
	}
	rows, cols := int(g.x.rows), int(g.x.cols)
	block, tasks := rowsPerTask(rows, cols)
	dgamma, dbeta := g.dgamma, g.dbeta
	if dgamma.data != nil || dbeta.data != nil {
		block = max(16, (rows+normPartials-1)/normPartials)
		tasks = (rows + block - 1) / block
		g.partial = (*C.float)(s.shared(4 * 2 * cols * max(1, tasks)))
	}
	partial := g.partial
	g.block = C.int64_t(block)
	s.run(s.table.norm_backward, tasks, 0, 6*rows*cols)
	s.sumPartials(dgamma, partial, 0, 2*cols, tasks)
	s.sumPartials(dbeta, partial, cols, 2*cols, tasks)
}
