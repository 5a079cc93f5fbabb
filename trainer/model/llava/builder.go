package llava

import (
	"fmt"

	"ressa/kernels"
	"ressa/trainer/model"
)

// source gives the parameters their values: a checkpoint, or random numbers.
type source interface {
	// load returns the tensor of that canonical name and shape on the device, as a
	// matrix over its last dimension.
	load(name string, shape []int, kind initial) (kernels.Tensor, error)
}

// initial says how a parameter starts in a model that is not loaded.
type initial uint8

const (
	normalVision initial = iota
	normalLanguage
	zeros
	ones
)

// builder collects parameters; the first error sticks, and everything after it
// is nil.
type builder struct {
	source source
	prefix string
	normal initial // normalVision or normalLanguage: what weights are drawn from
	params []*model.Param
	err    error
}

// param returns the parameter of that name below the prefix.
func (b *builder) param(name string, kind initial, shape ...int) *model.Param {
	if b.err != nil {
		return nil
	}
	name = b.prefix + name
	t, err := b.source.load(name, shape, kind)
	if err != nil {
		b.err = err
		return nil
	}
	p := &model.Param{Name: name, Shape: shape, Value: t}
	b.params = append(b.params, p)
	return p
}

// linear returns the layer name.weight (out, in) and, with bias, name.bias (out).
func (b *builder) linear(name string, out, in int, bias bool) *model.Linear {
	n := &model.Linear{Weight: b.param(name+".weight", b.normal, out, in)}
	if bias {
		n.Bias = b.param(name+".bias", zeros, out)
	}
	return n
}

// norm returns the parameters name.weight and, with bias, name.bias, (c) each.
func (b *builder) norm(name string, c int, bias bool) (gamma, beta *model.Param) {
	gamma = b.param(name+".weight", ones, c)
	if bias {
		beta = b.param(name+".bias", zeros, c)
	}
	return gamma, beta
}

// take returns the parameters that were added since the last call.
func (b *builder) take() []*model.Param {
	ps := b.params
	b.params = nil
	return ps
}

// matrix returns the rows and columns of a tensor seen over its last dimension.
func matrix(shape []int) (rows, cols int, err error) {
	rows, cols = 1, 1
	for i, d := range shape {
		if d < 1 {
			return 0, 0, fmt.Errorf("shape %v has no elements", shape)
		}
		if i == len(shape)-1 {
			cols = d
		} else {
			rows *= d
		}
	}
	return rows, cols, nil
}
