package layer

import (
	"ressa/kernels"
	"ressa/trainer/model"
)

// MLP is the feed-forward part of a block: Down(f(Up(x))), or with a Gate
// Down(f(Gate(x))·Up(x)). C = hidden width, F = inner width, T = rows.
type MLP struct {
	Gate       *model.Linear // (F, C), nil in a plain MLP
	Up, Down   *model.Linear // (F, C), (C, F)
	Activation kernels.Activation
}

// Trained reports whether any of the linears is trained.
func (m *MLP) Trained() bool { return TrainedLinear(m.Gate, m.Up, m.Down) }

// mlpState is what backward needs: what goes into the activation, (T, F) each.
type mlpState struct {
	gate, up kernels.Tensor
}

func (s *mlpState) release(l *model.Lane) {
	l.Free(s.gate, s.up)
	*s = mlpState{}
}

// expand returns what goes into the activation for the normalised x (T, C).
func (m *MLP) expand(l *model.Lane, x kernels.Tensor, v model.Variant) mlpState {
	var st mlpState
	st.up = l.Scratch(x.Rows, m.Up.Out())
	m.Up.Forward(l, st.up, x, v)
	if m.Gate != nil {
		st.gate = l.Scratch(x.Rows, m.Gate.Out())
		m.Gate.Forward(l, st.gate, x, v)
	}
	return st
}

// project writes y (T, C) for an expanded input, which it releases unless keep is
// set.
func (m *MLP) project(l *model.Lane, y kernels.Tensor, st mlpState, v model.Variant, keep bool) {
	inner := st.up
	if keep || m.Gate != nil {
		inner = l.Scratch(y.Rows, m.Up.Out())
	}
	m.activate(l, inner, st)
	if !keep {
		l.Free(st.gate)
		if m.Gate != nil {
			l.Free(st.up)
		}
	}
	m.Down.Forward(l, y, inner, v)
	l.Free(inner)
}

// activate writes the input of Down, (T, F).
func (m *MLP) activate(l *model.Lane, inner kernels.Tensor, st mlpState) {
	if m.Gate != nil {
		l.Stream.Gate(inner, st.gate, st.up, m.Activation)
		return
	}
	l.Stream.Activate(inner, st.up, m.Activation)
}

// backward writes the gradients of what is trained and, where dx is present, the
// gradient dx (T, C) of the normalised input. x is that input, read only where
// [ReadsInput] says so. It releases st.
func (m *MLP) backward(l *model.Lane, dx, dy, x kernels.Tensor, st *mlpState) {
	rows, width := st.up.Rows, st.up.Cols
	var inner kernels.Tensor
	if ReadsInput(m.Down) {
		inner = l.Scratch(rows, width)
		m.activate(l, inner, *st)
	}
	if dx.IsZero() && !TrainedLinear(m.Up, m.Gate) {
		m.Down.Backward(l, kernels.Tensor{}, dy, inner, false)
		l.Free(inner)
		st.release(l)
		return
	}
	dup := l.Scratch(rows, width)
	m.Down.Backward(l, dup, dy, inner, false)
	l.Free(inner)
	if m.Gate == nil {
		l.Stream.ActivateBackward(dup, dup, st.up, m.Activation)
		st.release(l)
		m.Up.Backward(l, dx, dup, x, false)
		l.Free(dup)
		return
	}
	dgate := l.Scratch(rows, width)
	l.Stream.GateBackward(dgate, dup, dup, st.gate, st.up, m.Activation)
	st.release(l)
	m.Gate.Backward(l, dx, dgate, x, false)
	l.Free(dgate)
	m.Up.Backward(l, dx, dup, x, true)
	l.Free(dup)
}
