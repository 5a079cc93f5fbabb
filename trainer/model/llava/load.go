package llava

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ressa/kernels"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/checkpoint/safetensors"
)

// ErrTensor is returned when a checkpoint lacks a tensor of the model, or holds
// it with another shape, a dtype that cannot be computed with, or values that are
// not finite.
var ErrTensor = errors.New("checkpoint does not fit the model")

// Tensors is a checkpoint: tensors by canonical name. [hf.Folder] implements it.
type Tensors interface {
	Has(name string) bool
	// Tensor returns a tensor whose data stays valid and unchanged until [Load] returns.
	Tensor(name string) (safetensors.Tensor, error)
}

// Open is [FromFolder] of the folder at a path.
func Open(ctx context.Context, device kernels.Device, dir string, o Options) (_ *Model, err error) {
	f, err := hf.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return FromFolder(ctx, device, f, o)
}

// FromFolder returns the model, or the stages of it, that a Hugging Face folder
// holds, in any spelling of the keys; the folder may be closed afterwards. See
// [ParseConfig] and [Load] for what it refuses.
func FromFolder(ctx context.Context, device kernels.Device, f *hf.Folder, o Options) (*Model, error) {
	c, err := ParseConfig(f.Config().Raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Dir(), err)
	}
	m, err := Load(ctx, device, c, f, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Dir(), err)
	}
	return m, nil
}

// Load returns a model with the values of a checkpoint, of which tensors that do
// not belong to the model are ignored. Weights keep their dtype where it is
// float32 or bfloat16; float16 becomes float32. It fails with [ErrTensor].
func Load(ctx context.Context, device kernels.Device, c Config, t Tensors, o Options) (*Model, error) {
	return build(ctx, device, c, o, func(s *store) source { return &stored{store: s, tensors: t} })
}

// stored is the source of parameters that a checkpoint holds.
type stored struct {
	store   *store
	tensors Tensors
}

func (s *stored) load(name string, shape []int, _ initial) (kernels.Tensor, error) {
	rows, cols, err := matrix(shape)
	if err != nil {
		return kernels.Tensor{}, fmt.Errorf("tensor %q: %w", name, err)
	}
	if !s.tensors.Has(name) {
		return kernels.Tensor{}, fmt.Errorf("tensor %q is missing: %w", name, ErrTensor)
	}
	t, err := s.tensors.Tensor(name)
	if err != nil {
		return kernels.Tensor{}, err
	}
	if !slices.Equal(t.Shape, shape) {
		return kernels.Tensor{}, fmt.Errorf("tensor %q has shape %v, config.json makes it %v: %w", name, t.Shape, shape, ErrTensor)
	}
	// Here, where the data is read anyway: a number that is none would show as a
	// loss that is none, or not at all.
	if err := t.CheckFinite(); err != nil {
		return kernels.Tensor{}, fmt.Errorf("tensor %q: %w: %w", name, err, ErrTensor)
	}
	switch t.DType {
	case safetensors.F32:
		return s.store.put(kernels.F32, rows, cols, t.Data)
	case safetensors.BF16:
		return s.store.put(kernels.BF16, rows, cols, t.Data)
	case safetensors.F16:
		wide, err := t.Float32()
		if err != nil {
			return kernels.Tensor{}, fmt.Errorf("tensor %q: %w", name, err)
		}
		return s.store.put(kernels.F32, rows, cols, kernels.EncodeF32(wide))
	}
	return kernels.Tensor{}, fmt.Errorf("tensor %q is %v, want F32, BF16 or F16: %w", name, t.DType, ErrTensor)
}
