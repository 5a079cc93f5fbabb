package llava

import (
	"context"
	"fmt"

	"ressa/kernels"
	"ressa/trainer/model/layer"
)

// store puts constant data into device memory.
type store struct {
	ctx     context.Context
	device  kernels.Device
	stream  kernels.Stream
	owned   []kernels.Buffer
	pending int // bytes uploaded since the last synchronisation
}

// pendingLimit bounds the host memory that uploads hold on to.
const pendingLimit = 256 << 20

// put returns a tensor of its own with these contents. data must stay as it is
// until flush.
func (s *store) put(d kernels.DType, rows, cols int, data []byte) (kernels.Tensor, error) {
	if len(data) != rows*cols*d.Size() {
		return kernels.Tensor{}, fmt.Errorf("%d bytes for %v (%d, %d)", len(data), d, rows, cols)
	}
	if err := s.ctx.Err(); err != nil {
		return kernels.Tensor{}, err
	}
	buffer, err := s.device.Alloc(len(data))
	if err != nil {
		return kernels.Tensor{}, err
	}
	s.owned = append(s.owned, buffer)
	t := kernels.NewTensor(buffer, d, rows, cols)
	s.stream.Upload(t, data)
	if s.pending += len(data); s.pending > pendingLimit {
		return t, s.flush()
	}
	return t, nil
}

// flush waits until everything is uploaded.
func (s *store) flush() error {
	s.pending = 0
	return s.stream.Synchronize(s.ctx)
}

// rotary uploads the tables for heads of width headDim.
func (s *store) rotary(positions, headDim int, theta float64) (*layer.Rotary, error) {
	cos, sin := layer.RotaryTables(positions, headDim, theta)
	r := &layer.Rotary{}
	var err error
	if r.Cos, err = s.put(kernels.F32, positions, headDim/2, kernels.EncodeF32(cos)); err != nil {
		return nil, fmt.Errorf("rotary tables: %w", err)
	}
	if r.Sin, err = s.put(kernels.F32, positions, headDim/2, kernels.EncodeF32(sin)); err != nil {
		return nil, fmt.Errorf("rotary tables: %w", err)
	}
	return r, nil
}
