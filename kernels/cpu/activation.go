//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import "ressa/kernels"

// activationWork is how many elementary operations an activation costs.
const activationWork = 8

// activation runs fn over the operands of g, which all have the shape of y.
func (s *stream) activation(fn C.rk_task, g *C.struct_rk_activation, f kernels.Activation) {
	if s.err != nil {
		return
	}
	g.f = C.int32_t(f)
	flat := dense(g.y) && dense(g.x) && dense(g.dy) && dense(g.up) && dense(g.dup)
	tasks := 0
	g.block, g.flat, tasks = divide(g.y, flat)
	s.run(fn, tasks, 0, activationWork*int(g.y.rows*g.y.cols))
}

// divide cuts m into tasks of block elements where all operands are flat, else
// of block rows.
func divide(m C.struct_rk_mat, flat bool) (block C.int64_t, isFlat C.int32_t, tasks int) {
	rows, cols := int(m.rows), int(m.cols)
	if rows*cols == 0 {
		return 1, 0, 0
	}
	if flat {
		return taskElements, 1, (rows*cols + taskElements - 1) / taskElements
	}
	b, n := rowsPerTask(rows, cols)
	return C.int64_t(b), 0, n
}

// Activate writes y = f(x).
func (s *stream) Activate(y, x kernels.Tensor, f kernels.Activation) {
	s.fail(kernels.CheckActivate(y, x, f))
	g := arguments[C.struct_rk_activation](s)
	g.y = s.mat("activate", "y", y, -1, -1, f32)
	g.x = s.mat("activate", "x", x, y.Rows, y.Cols, f32)
	s.activation(s.table.activate, g, f)
}

// ActivateBackward writes dx = dy · f'(x).
func (s *stream) ActivateBackward(dx, dy, x kernels.Tensor, f kernels.Activation) {
	s.fail(kernels.CheckActivateBackward(dx, dy, x, f))
	g := arguments[C.struct_rk_activation](s)
	g.y = s.mat("activate backward", "dx", dx, -1, -1, f32)
	g.dy = s.mat("activate backward", "dy", dy, dx.Rows, dx.Cols, f32)
	g.x = s.mat("activate backward", "x", x, dx.Rows, dx.Cols, f32)
	s.activation(s.table.activate_backward, g, f)
}

// Gate writes y = f(gate) · up.
func (s *stream) Gate(y, gate, up kernels.Tensor, f kernels.Activation) {
	s.fail(kernels.CheckGate(y, gate, up, f))
	g := arguments[C.struct_rk_activation](s)
	g.y = s.mat("gate", "y", y, -1, -1, f32)
	g.x = s.mat("gate", "gate", gate, y.Rows, y.Cols, f32)
	g.up = s.mat("gate", "up", up, y.Rows, y.Cols, f32)
	s.activation(s.table.gate, g, f)
}

// GateBackward writes dgate = dy · up · f'(gate) and dup = dy · f(gate).
func (s *stream) GateBackward(dgate, dup, dy, gate, up kernels.Tensor, f kernels.Activation) {
	const op = "gate backward"
	s.fail(kernels.CheckGateBackward(dgate, dup, dy, gate, up, f))
	g := arguments[C.struct_rk_activation](s)
	g.y = s.mat(op, "dgate", dgate, -1, -1, f32)
	g.dup = s.mat(op, "dup", dup, dgate.Rows, dgate.Cols, f32)
	g.dy = s.mat(op, "dy", dy, dgate.Rows, dgate.Cols, f32)
	g.x = s.mat(op, "gate", gate, dgate.Rows, dgate.Cols, f32)
	g.up = s.mat(op, "up", up, dgate.Rows, dgate.Cols, f32)
	s.activation(s.table.gate_backward, g, f)
}
