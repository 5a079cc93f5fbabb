package kerneltest

import (
	"fmt"
	"math"

	"ressa/kernels"
)

func activationCases() (cases []testCase) {
	names := map[kernels.Activation]string{kernels.GELU: "gelu", kernels.GELUTanh: "gelu-tanh", kernels.QuickGELU: "quick-gelu", kernels.SiLU: "silu", kernels.ReLU: "relu"}
	for f := kernels.GELU; f <= kernels.ReLU; f++ {
		for _, n := range shapes() {
			add := func(op, variant string, build func(g *generator) *trial) {
				cases = append(cases, both(op, fmt.Sprintf("%s%s-%v", names[f], variant, n), build)...)
			}
			add("Activate", "", func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.Activate(x[0], x[1], f) },
					g.out("y", n.rows, n.cols), g.arguments("x", n),
				).within(elementwise("Activate", 0, func(t *trial, i, j int) float64 { return math.Abs(t.first(1, i, j)) }))
			})
			add("Activate", "-in-place", func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.Activate(x[0], x[0], f) }, written(g.arguments("x", n))).within(elementwise("Activate", 0, func(t *trial, i, j int) float64 { return math.Abs(t.first(0, i, j)) }))
			})
			add("ActivateBackward", "", func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.ActivateBackward(x[0], x[1], x[2], f) },
					g.out("dx", n.rows, n.cols), g.normal("dy", n.rows, n.cols, 1), g.arguments("x", n),
				).within(elementwise("ActivateBackward", 0, func(t *trial, i, j int) float64 {
					return (1 + math.Abs(t.first(2, i, j))) * math.Abs(t.first(1, i, j))
				}))
			})
			add("ActivateBackward", "-into-dy", func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.ActivateBackward(x[0], x[0], x[1], f) },
					written(g.normal("dy", n.rows, n.cols, 1)), g.arguments("x", n),
				).within(elementwise("ActivateBackward", 0, func(t *trial, i, j int) float64 {
					return (1 + math.Abs(t.first(1, i, j))) * math.Abs(t.first(0, i, j))
				}))
			})
			add("Gate", "", func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.Gate(x[0], x[1], x[2], f) },
					g.out("y", n.rows, n.cols), g.arguments("gate", n), g.normal("up", n.rows, n.cols, 1),
				).within(elementwise("Gate", 0, func(t *trial, i, j int) float64 { return math.Abs(t.first(1, i, j) * t.first(2, i, j)) }))
			})
			add("GateBackward", "", func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.GateBackward(x[0], x[1], x[2], x[3], x[4], f) },
					g.out("dgate", n.rows, n.cols), g.out("dup", n.rows, n.cols), g.normal("dy", n.rows, n.cols, 1), g.arguments("gate", n), g.normal("up", n.rows, n.cols, 1),
				).within(gateBackward(1, 2, 3, 4))
			})
			add("GateBackward", "-into-dy", func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.GateBackward(x[0], x[1], x[1], x[2], x[3], f) },
					g.out("dgate", n.rows, n.cols), written(g.normal("dy", n.rows, n.cols, 1)), g.arguments("gate", n), g.normal("up", n.rows, n.cols, 1),
				).within(gateBackward(1, 1, 2, 3))
			})
		}
	}
	return cases
}

// arguments are ordinary values with a few far out, where exp over- or underflows.
func (g *generator) arguments(name string, n shape) *operand {
	far := []float64{0, math.Copysign(0, -1), 5, -5, 12, -12, 60, -60, 200, -200, 1e4, -1e4, 1e-20, -1e-20}
	return g.each(name, kernels.F32, n.rows, n.cols, func(i, j int) float64 {
		if k := i*n.cols + j; k%3 == 2 && k/3 < len(far) {
			return far[k/3]
		}
		return 2 * g.rng.NormFloat64()
	})
}

// gateBackward bounds dgate (operand 0) and dup.
func gateBackward(dup, dy, gate, up int) func(*trial, [][]float64) [][]float64 {
	const op = "GateBackward"
	return func(t *trial, want [][]float64) [][]float64 {
		b := elementwise(op, 0, func(t *trial, i, j int) float64 {
			return (1 + math.Abs(t.first(gate, i, j))) * math.Abs(t.first(dy, i, j)*t.first(up, i, j))
		})(t, want)
		b[dup] = elementwise(op, dup, func(t *trial, i, j int) float64 {
			return math.Abs(t.first(gate, i, j) * t.first(dy, i, j))
		})(t, want)[dup]
		return b
	}
}
