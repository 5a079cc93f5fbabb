package llava

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"ressa/kernels"
	"ressa/trainer/checkpoint/safetensors"
)

// ErrTensor is returned when a checkpoint lacks a tensor of the model, or holds
// it with another shape or a dtype that cannot be computed with.
var ErrTensor = errors.New("checkpoint does not fit the model")

// Tensors is a checkpoint: named tensors, in whatever spelling.
type Tensors interface {
	Names() []string
	// Tensor returns a tensor whose data stays valid and unchanged until Load returns.
	Tensor(name string) (safetensors.Tensor, error)
}

// Load returns a model with the values of a checkpoint, of which tensors that do
// not belong to the model are ignored. Weights keep their dtype where it is
// float32 or bfloat16; float16 becomes float32. It fails with [ErrTensor].
func Load(ctx context.Context, device kernels.Device, c Config, t Tensors, o Options) (*Model, error) {
	names := map[string]string{}
	for _, n := range t.Names() {
		canonical := Canonicalise(n)
		if other, ok := names[canonical]; ok {
			return nil, fmt.Errorf("load model: tensors %q and %q are the same parameter: %w", other, n, ErrTensor)
		}
		names[canonical] = n
	}
	return build(ctx, device, c, o, func(s *store) source { return &stored{store: s, tensors: t, names: names} })
}

// stored is the source of parameters that a checkpoint holds.
type stored struct {
	store   *store
	tensors Tensors
	names   map[string]string // as in the checkpoint, by canonical name
}

func (s *stored) load(name string, shape []int, _ initial) (kernels.Tensor, error) {
	rows, cols, err := matrix(shape)
	if err != nil {
		return kernels.Tensor{}, fmt.Errorf("tensor %q: %w", name, err)
	}
	found, ok := s.names[name]
	if !ok {
		return kernels.Tensor{}, fmt.Errorf("tensor %q is missing: %w", name, ErrTensor)
	}
	t, err := s.tensors.Tensor(found)
	if err != nil {
		return kernels.Tensor{}, err
	}
	if !slices.Equal(t.Shape, shape) {
		return kernels.Tensor{}, fmt.Errorf("tensor %q has shape %v, config.json makes it %v: %w", found, t.Shape, shape, ErrTensor)
	}
	switch t.DType {
	case safetensors.F32:
		return s.store.put(kernels.F32, rows, cols, t.Data)
	case safetensors.BF16:
		return s.store.put(kernels.BF16, rows, cols, t.Data)
	case safetensors.F16:
		return s.store.put(kernels.F32, rows, cols, widen(t.Data))
	}
	return kernels.Tensor{}, fmt.Errorf("tensor %q is %v, want F32, BF16 or F16: %w", found, t.DType, ErrTensor)
}

// widen converts little-endian binary16 to binary32; every value is exact.
func widen(half []byte) []byte {
	out := make([]byte, 2*len(half))
	for i := 0; i+2 <= len(half); i += 2 {
		binary.LittleEndian.PutUint32(out[2*i:], widenOne(binary.LittleEndian.Uint16(half[i:])))
	}
	return out
}

func widenOne(h uint16) uint32 {
	sign, exponent, fraction := uint32(h&0x8000)<<16, uint32(h>>10&0x1F), uint32(h&0x3FF)
	switch {
	case exponent == 0x1F: // infinity and NaN
		return sign | 0x7F80_0000 | fraction<<13
	case exponent == 0: // zero and subnormal: fraction·2⁻²⁴
		return sign | math.Float32bits(float32(fraction)*0x1p-24)
	}
	return sign | (exponent+127-15)<<23 | fraction<<13
}
