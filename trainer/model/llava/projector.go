package llava

import (
	"ressa/kernels"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
)

// projector maps image features (R, Cv) to rows of the language model (R, C):
// linear_2(f(linear_1(x))).
type projector struct {
	first, second *model.Linear
	activation    kernels.Activation
}

func newProjector(b *builder, c Config) *projector {
	b.prefix, b.normal = hf.ProjectorPrefix, normalLanguage
	return &projector{
		first:      b.linear("linear_1", c.Language.Hidden, c.Vision.Hidden, c.ProjectorBias),
		second:     b.linear("linear_2", c.Language.Hidden, c.Language.Hidden, c.ProjectorBias),
		activation: c.ProjectorActivation,
	}
}

func (p *projector) trained() bool { return layer.TrainedLinear(p.first, p.second) }

// projectorState is what backward needs: the features only where linear_1's
// weight is trained, and what goes into the activation.
type projectorState struct {
	features, inner kernels.Tensor
}

func (s *projectorState) release(l *model.Lane) {
	l.Free(s.features, s.inner)
	*s = projectorState{}
}

// forward returns the projected rows, in scratch memory.
func (p *projector) forward(l *model.Lane, features kernels.Tensor, v model.Variant, keep bool) (kernels.Tensor, projectorState) {
	inner := l.Scratch(features.Rows, p.first.Out())
	p.first.Forward(l, inner, features, v)
	active := inner
	var s projectorState
	if keep {
		s.inner, active = inner, l.Scratch(inner.Rows, inner.Cols)
		if layer.ReadsInput(p.first) {
			s.features = layer.Copy(l, features)
		}
	}
	l.Stream.Activate(active, inner, p.activation)
	y := l.Scratch(features.Rows, p.second.Out())
	p.second.Forward(l, y, active, v)
	l.Free(active)
	return y, s
}

// backward writes the gradients of what is trained and, where dfeatures is
// present, the gradient of the features. It releases s.
func (p *projector) backward(l *model.Lane, dfeatures, dy kernels.Tensor, s *projectorState) {
	var active kernels.Tensor
	if layer.ReadsInput(p.second) {
		active = l.Scratch(s.inner.Rows, s.inner.Cols)
		l.Stream.Activate(active, s.inner, p.activation)
	}
	d := l.Scratch(s.inner.Rows, s.inner.Cols)
	p.second.Backward(l, d, dy, active, false)
	l.Free(active)
	l.Stream.ActivateBackward(d, d, s.inner, p.activation)
	p.first.Backward(l, dfeatures, d, s.features, false)
	l.Free(d)
	s.release(l)
}
