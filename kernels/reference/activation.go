package reference

import (
	"math"

	"ressa/kernels"
)

// activation returns f(x) and f'(x) in float64.
func activation(f kernels.Activation, x float64) (y, dy float64) {
	switch f {
	case kernels.GELU:
		cdf := 0.5 * math.Erfc(-x/math.Sqrt2) // Φ(x); erfc keeps the left tail exact
		pdf := math.Exp(-0.5*x*x) / math.Sqrt(2*math.Pi)
		return x * cdf, cdf + x*pdf
	case kernels.GELUTanh:
		const c, k = 0.044715, 0.7978845608028654 // √(2/π)
		t := math.Tanh(k * (x + c*x*x*x))
		return 0.5 * x * (1 + t), 0.5*(1+t) + 0.5*x*(1-t*t)*k*(1+3*c*x*x)
	case kernels.QuickGELU:
		s := sigmoid(1.702 * x)
		return x * s, s + x*1.702*s*(1-s)
	case kernels.SiLU:
		s := sigmoid(x)
		return x * s, s + x*s*(1-s)
	default: // ReLU
		if x > 0 {
			return x, 1
		}
		return 0, 0
	}
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func (s *stream) Activate(y, x kernels.Tensor, f kernels.Activation) {
	if !s.begin(kernels.CheckActivate(y, x, f), y, x) {
		return
	}
	for i := range x.Rows {
		yr, xr := floats(y).row(i), floats(x).row(i)
		for j := range xr {
			v, _ := activation(f, float64(xr[j]))
			yr[j] = float32(v)
		}
	}
}

func (s *stream) ActivateBackward(dx, dy, x kernels.Tensor, f kernels.Activation) {
	if !s.begin(kernels.CheckActivateBackward(dx, dy, x, f), dx, dy, x) {
		return
	}
	for i := range x.Rows {
		dxr, dyr, xr := floats(dx).row(i), floats(dy).row(i), floats(x).row(i)
		for j := range xr {
			_, d := activation(f, float64(xr[j]))
			dxr[j] = float32(float64(dyr[j]) * d)
		}
	}
}

func (s *stream) Gate(y, gate, up kernels.Tensor, f kernels.Activation) {
	if !s.begin(kernels.CheckGate(y, gate, up, f), y, gate, up) {
		return
	}
	for i := range gate.Rows {
		yr, gr, ur := floats(y).row(i), floats(gate).row(i), floats(up).row(i)
		for j := range gr {
			v, _ := activation(f, float64(gr[j]))
			yr[j] = float32(v * float64(ur[j]))
		}
	}
}

func (s *stream) GateBackward(dgate, dup, dy, gate, up kernels.Tensor, f kernels.Activation) {
	if !s.begin(kernels.CheckGateBackward(dgate, dup, dy, gate, up, f), dgate, dup, dy, gate, up) {
		return
	}
	for i := range gate.Rows {
		dgr, dur, dyr := floats(dgate).row(i), floats(dup).row(i), floats(dy).row(i)
		gr, ur := floats(gate).row(i), floats(up).row(i)
		for j := range gr {
			v, d := activation(f, float64(gr[j]))
			g := float64(dyr[j]) // read before dup, which may be dy, is written
			dgr[j] = float32(g * float64(ur[j]) * d)
			dur[j] = float32(g * v)
		}
	}
}
