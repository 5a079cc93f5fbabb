//go:build cgo

package cpu

import "ressa/kernels"

// pending is embedded in stream while its operations are being written; a method
// of *stream takes the place of the one here.
type pending struct{}

func (pending) AddRows(dst, x, p kernels.Tensor)                                                   {}
func (pending) SumRowGroups(dst, x kernels.Tensor)                                                 {}
func (pending) ScatterAddRows(dst, src, index kernels.Tensor)                                      {}
func (pending) Activate(y, x kernels.Tensor, f kernels.Activation)                                 {}
func (pending) ActivateBackward(dx, dy, x kernels.Tensor, f kernels.Activation)                    {}
func (pending) Gate(y, gate, up kernels.Tensor, f kernels.Activation)                              {}
func (pending) GateBackward(dgate, dup, dy, gate, up kernels.Tensor, f kernels.Activation)         {}
func (pending) Rotate(x kernels.Tensor, headDim int, cos, sin, pos kernels.Tensor, inv bool)       {}
func (pending) ArgmaxRows(dst, x kernels.Tensor)                                                   {}
func (pending) AttentionForward(kernels.AttentionArgs)                                             {}
func (pending) AttentionBackward(kernels.AttentionArgs, kernels.AttentionGrads)                    {}
func (pending) LayerNorm(y, x, gamma, beta kernels.Tensor, eps float32, mean, rstd kernels.Tensor) {}
func (pending) LayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd kernels.Tensor, add bool) {
}
func (pending) RMSNorm(y, x, gamma kernels.Tensor, eps float32, rstd kernels.Tensor)           {}
func (pending) RMSNormBackward(dx, dgamma, dy, x, gamma, rstd kernels.Tensor, accumulate bool) {}
func (pending) CrossEntropyKL(kernels.CrossEntropyKLArgs)                                      {}
func (pending) AdamW(kernels.AdamWArgs)                                                        {}
func (pending) SegmentSumSquares(dst, x kernels.Tensor, offsets []int)                         {}
func (pending) ColumnSumSquares(dst, x kernels.Tensor)                                         {}
