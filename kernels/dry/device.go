package dry

import (
	"context"

	"ressa/kernels"
)

// Open returns the device.
func Open() kernels.Device { return device{} }

type device struct{}

func (device) Kind() string                            { return "dry" }
func (device) Alloc(bytes int) (kernels.Buffer, error) { return &buffer{bytes}, nil }
func (device) Free(kernels.Buffer)                     {}
func (device) NewStream() (kernels.Stream, error)      { return stream{}, nil }
func (device) Close() error                            { return nil }

type buffer struct{ bytes int }

func (b *buffer) Bytes() int { return b.bytes }

// stream drops every operation, listed in the order of the interfaces.
type stream struct{}

type tensor = kernels.Tensor

func (stream) Synchronize(ctx context.Context) error { return ctx.Err() }
func (stream) Close() error                          { return nil }

func (stream) Upload(tensor, []byte)   {}
func (stream) Download([]byte, tensor) {}

func (stream) Fill(tensor, float32)                                        {}
func (stream) Convert(_, _ tensor)                                         {}
func (stream) Add(_, _, _ tensor)                                          {}
func (stream) AddRounded(_, _, _ tensor, _ kernels.DType)                  {}
func (stream) AddRows(_, _, _ tensor)                                      {}
func (stream) SumRowGroups(_, _ tensor)                                    {}
func (stream) GatherRows(_, _, _ tensor)                                   {}
func (stream) ScatterRows(_, _, _ tensor)                                  {}
func (stream) ScatterAddRows(_, _, _ tensor)                               {}
func (stream) Activate(_, _ tensor, _ kernels.Activation)                  {}
func (stream) ActivateBackward(_, _, _ tensor, _ kernels.Activation)       {}
func (stream) Gate(_, _, _ tensor, _ kernels.Activation)                   {}
func (stream) GateBackward(_, _, _, _, _ tensor, _ kernels.Activation)     {}
func (stream) Rotate(_ tensor, _ int, _, _, _ tensor, _ bool)              {}
func (stream) ArgmaxRows(_, _ tensor)                                      {}
func (stream) Gemm(kernels.GemmArgs)                                       {}
func (stream) LinearForward(_, _ tensor, _ kernels.LinearWeight, _ tensor) {}

func (stream) LinearBackwardInput(_, _ tensor, _ kernels.LinearWeight, _ bool) {}
func (stream) LinearBackwardAdapter(_, _, _, _ tensor, _ kernels.LinearWeight) {}
func (stream) LinearBackwardWeight(_, _, _, _ tensor)                          {}
func (stream) EffectiveWeight(tensor, kernels.LinearWeight)                    {}

func (stream) AttentionForward(kernels.AttentionArgs)                          {}
func (stream) AttentionBackward(kernels.AttentionArgs, kernels.AttentionGrads) {}

func (stream) LayerNorm(_, _, _, _ tensor, _ float32, _, _ tensor)          {}
func (stream) LayerNormBackward(_, _, _, _, _, _, _, _ tensor, _ bool)      {}
func (stream) RMSNorm(_, _, _ tensor, _ float32, _ tensor)                  {}
func (stream) AddLayerNorm(_, _, _, _, _, _ tensor, _ float32, _, _ tensor) {}
func (stream) AddRMSNorm(_, _, _, _, _ tensor, _ float32, _ tensor)         {}
func (stream) RMSNormBackward(_, _, _, _, _, _ tensor, _ bool)              {}

func (stream) CrossEntropyKL(kernels.CrossEntropyKLArgs) {}

func (stream) AdamW(kernels.AdamWArgs)                {}
func (stream) SegmentSumSquares(_, _ tensor, _ []int) {}
func (stream) ColumnSumSquares(_, _ tensor)           {}

func (stream) SelectMask(kernels.SelectMaskArgs) {}
func (stream) PackKept(_, _, _ tensor)           {}
func (stream) UnpackKept(_, _, _ tensor)         {}
