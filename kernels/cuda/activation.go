//go:build cgo && linux

package cuda

import "ressa/kernels"

// The argument structs of activation.cu.
type (
	activationArgs struct {
		head
		y, dy, x view
		f, _     int32
	}
	gateArgs struct {
		head
		y, dup, dy, gate, up view
		f, _                 int32
	}
)

// Activate writes y = f(x).
func (s *Stream) Activate(y, x kernels.Tensor, f kernels.Activation) {
	s.fail(kernels.CheckActivate(y, x, f))
	a := &activationArgs{y: s.view("activate", "y", y), x: s.view("activate", "x", x), f: int32(f)}
	flatten(&a.y, &a.x)
	each(s, "activate", a.y, a)
}

// ActivateBackward writes dx = dy · f'(x).
func (s *Stream) ActivateBackward(dx, dy, x kernels.Tensor, f kernels.Activation) {
	const op = "activate backward"
	s.fail(kernels.CheckActivateBackward(dx, dy, x, f))
	a := &activationArgs{y: s.view(op, "dx", dx), dy: s.view(op, "dy", dy), x: s.view(op, "x", x), f: int32(f)}
	flatten(&a.y, &a.dy, &a.x)
	each(s, "activate_backward", a.y, a)
}

// Gate writes y = f(gate) · up.
func (s *Stream) Gate(y, gate, up kernels.Tensor, f kernels.Activation) {
	s.fail(kernels.CheckGate(y, gate, up, f))
	a := &gateArgs{y: s.view("gate", "y", y), gate: s.view("gate", "gate", gate), up: s.view("gate", "up", up), f: int32(f)}
	flatten(&a.y, &a.gate, &a.up)
	each(s, "gate", a.y, a)
}

// GateBackward writes dgate = dy · up · f'(gate) and dup = dy · f(gate).
func (s *Stream) GateBackward(dgate, dup, dy, gate, up kernels.Tensor, f kernels.Activation) {
	const op = "gate backward"
	s.fail(kernels.CheckGateBackward(dgate, dup, dy, gate, up, f))
	a := &gateArgs{y: s.view(op, "dgate", dgate), dup: s.view(op, "dup", dup), dy: s.view(op, "dy", dy),
		gate: s.view(op, "gate", gate), up: s.view(op, "up", up), f: int32(f)}
	flatten(&a.y, &a.dup, &a.dy, &a.gate, &a.up)
	each(s, "gate_backward", a.y, a)
}
