package exchange_test

import (
	"context"
	"fmt"

	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/step"
)

// A fake of an encoder-decoder such as T5: what matters is its graph. Node 0 is
// the encoder, nodes 1 to 3 are stages of the decoder; each reads the encoder's
// output ("memory") and, but for the first, the stage before. A stage computes
//
//	out = GELU(memory·Cᵀ + hidden·Sᵀ)
//
// and the last one has the loss ½‖out‖².
const (
	coderRows  = 7
	coderWidth = 24
	memory     = "memory"
)

func openCoder(ctx context.Context, d kernels.Device, holds func(int) bool) (*scene, error) {
	s := &scene{
		graph:   step.Graph{Inputs: [][]int{nil, {0}, {0, 1}, {0, 2}}},
		layouts: make([]*model.Layout, 4),
		close:   func() {},
	}
	for node, inputs := range s.graph.Inputs {
		n := &coderNode{name: []string{"encoder", "decoder 0", "decoder 1", "decoder 2"}[node], last: node == 3}
		s.graph.Nodes = append(s.graph.Nodes, n)
		if !holds(node) {
			continue
		}
		s.layouts[node] = &model.Layout{}
		for i := range max(1, len(inputs)) {
			w, err := upload(ctx, d, coderWidth, normals(uint32(100+node), uint32(i), coderWidth*coderWidth, 0.3))
			if err != nil {
				return nil, err
			}
			name := fmt.Sprintf("%s.%d", n.name, i)
			n.linears = append(n.linears, &model.Linear{Weight: &model.Param{Name: name, Value: w,
				Slot: s.layouts[node].Add(name, coderWidth, coderWidth)}})
		}
	}
	for i := range 5 {
		s.batches = append(s.batches, &data.Batch{Sequences: 1, Images: 1, Pixels: normals(2000, uint32(i), coderRows*coderWidth, 1)})
	}
	return s, nil
}

type coderNode struct {
	name    string
	linears []*model.Linear // one for each input; the encoder's reads the batch
	last    bool
}

type coderKept struct {
	inputs   []kernels.Tensor
	pre, out kernels.Tensor
	own      []kernels.Tensor
}

func (k *coderKept) Losses() step.Losses { return step.Losses{} }

func (k *coderKept) Release(l *model.Lane) {
	l.Free(k.own...)
	k.own = nil
}

func (n *coderNode) Name() string { return n.name }

func (n *coderNode) Forward(ctx context.Context, l *model.Lane, mb *step.Microbatch, in []model.Edge) (model.Edge, step.Kept, error) {
	k := &coderKept{pre: l.Scratch(coderRows, coderWidth), out: l.Scratch(coderRows, coderWidth)}
	k.own = append(k.own, k.pre)
	if len(in) == 0 {
		x := l.Scratch(coderRows, coderWidth)
		if err := step.WriteVector(context.Background(), l.Stream, x.Reshape(1, x.Len()), mb.Batch.Pixels); err != nil {
			return model.Edge{}, nil, err
		}
		k.inputs, k.own = append(k.inputs, x), append(k.own, x)
	}
	for i, e := range in {
		name := model.Hidden
		if i == 0 {
			name = memory
		}
		if e.Tensor(name).IsZero() {
			return model.Edge{}, nil, fmt.Errorf("input %d has no tensor %q", i, name)
		}
		k.inputs = append(k.inputs, e.Tensor(name))
	}
	n.linears[0].Forward(l, k.pre, k.inputs[0], model.Student)
	if len(k.inputs) > 1 {
		more := l.Scratch(coderRows, coderWidth)
		n.linears[1].Forward(l, more, k.inputs[1], model.Student)
		l.Stream.Add(k.pre, k.pre, more)
		l.Free(more)
	}
	l.Stream.Activate(k.out, k.pre, kernels.GELU)
	switch {
	case n.last:
		k.own = append(k.own, k.out)
		return model.Edge{}, k, nil
	case len(in) == 0:
		return model.Edge{}.With(memory, k.out), k, nil
	default:
		return model.Edge{}.With(model.Hidden, k.out), k, nil
	}
}

func (n *coderNode) Backward(ctx context.Context, l *model.Lane, _ *step.Microbatch, kept step.Kept, dout model.Edge) ([]model.Edge, error) {
	k, ok := kept.(*coderKept)
	if !ok {
		return nil, fmt.Errorf("state of another node")
	}
	dy := k.out // the gradient of ½‖out‖²
	if !n.last {
		if len(dout.Tensors) != 1 {
			return nil, fmt.Errorf("%d gradients of the output, want 1", len(dout.Tensors))
		}
		dy = dout.Tensors[0].Tensor
	}
	dpre := l.Scratch(coderRows, coderWidth)
	l.Stream.ActivateBackward(dpre, dy, k.pre, kernels.GELU)
	var grads []model.Edge
	for i, linear := range n.linears {
		var dx kernels.Tensor
		if n.name != "encoder" {
			dx = l.Scratch(coderRows, coderWidth)
			grads = append(grads, model.Edge{}.With([]string{memory, model.Hidden}[i], dx))
		}
		linear.Backward(l, dx, dpre, k.inputs[i], false)
	}
	l.Free(dpre)
	k.Release(l)
	return grads, nil
}
