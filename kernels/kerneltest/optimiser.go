package kerneltest

import (
	"fmt"
	"math"

	"ressa/kernels"
)

func optimiserCases() (cases []testCase) {
	for _, n := range shapes() {
		for _, mask := range []string{"none", "random", "rows"} {
			for _, step := range []int{1, 1000} {
				cases = append(cases, both("AdamW", fmt.Sprintf("%v-%s-step-%d", n, mask, step), func(g *generator) *trial {
					return adamW(g, n, mask, step)
				})...)
			}
		}
	}
	return cases
}

func adamW(g *generator, n shape, kind string, step int) *trial {
	a := kernels.AdamWArgs{LR: 1e-2, WeightDecay: 0.1, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, GradScale: 0.5,
		Bias1: 1 - math.Pow(0.9, float64(step)), Bias2: 1 - math.Pow(0.999, float64(step))}
	param, m, v := written(g.normal("param", n.rows, n.cols, 1)), written(g.normal("m", n.rows, n.cols, 1e-3)),
		written(g.each("v", kernels.F32, n.rows, n.cols, func(int, int) float64 { return 1e-6 * math.Abs(g.rng.NormFloat64()) }))
	grad := g.each("grad", kernels.F32, n.rows, n.cols, func(i, j int) float64 {
		if (i+j)%11 == 5 {
			return 0
		}
		return 1e-3 * g.rng.NormFloat64()
	})
	operands := []*operand{param, m, v, grad}
	mask := g.keep(kind, n.rows, n.cols)
	if mask != nil {
		operands = append(operands, g.masked("mask", *mask))
	}
	return with(func(s kernels.Stream, x []kernels.Tensor) {
		a := a
		a.Param, a.M, a.V, a.Grad = x[0], x[1], x[2], x[3]
		if mask != nil {
			a.Mask = x[4]
		}
		s.AdamW(a)
	}, operands...).within(func(t *trial, want [][]float64) [][]float64 {
		abs, b := t.absolute(want, 0, 1, 3), make([][]float64, len(t.operands))
		b[1], b[2] = scaled("AdamW", 1, abs[1]), scaled("AdamW", 1, abs[2])
		u := units("AdamW")
		for i := range n.rows {
			for j := range n.cols {
				// Both terms of the update shrink an absolute parameter: their sum is the distance.
				p := math.Abs(t.first(0, i, j))
				e := u * (p + math.Abs(p-abs[0][i*n.cols+j]))
				if mask != nil && !mask.Get(i, j) {
					e, b[1][i*n.cols+j], b[2][i*n.cols+j] = 0, 0, 0
				}
				b[0] = append(b[0], e)
			}
		}
		return b
	})
}
