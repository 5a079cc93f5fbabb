package kerneltest

import (
	"context"
	"fmt"
	"math"

	"ressa/kernels"
	"ressa/kernels/reference"
)

func normCases() (cases []testCase) {
	add := func(op, name string, build func(g *generator) *trial) {
		cases = append(cases, both(op, name, build)...)
	}
	const eps = 1e-5
	for _, n := range append(shapes(), shape{9, 1024}) {
		for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
			name := fmt.Sprintf("%v-%v", n, d)
			add("LayerNorm", name, func(g *generator) *trial { return layerNorm(g, n, d, eps, 0.5) })
			add("RMSNorm", name, func(g *generator) *trial { return rmsNorm(g, n, d, eps) })
			for _, accumulate := range []bool{false, true} {
				if accumulate {
					name += "-accumulate"
				}
				add("LayerNormBackward", name, func(g *generator) *trial { return normBackward(g, n, d, true, accumulate, true) })
				add("RMSNormBackward", name, func(g *generator) *trial { return normBackward(g, n, d, false, accumulate, true) })
			}
		}
		add("LayerNormBackward", n.String()+"-frozen", func(g *generator) *trial { return normBackward(g, n, kernels.F32, true, false, false) })
		add("RMSNormBackward", n.String()+"-frozen", func(g *generator) *trial { return normBackward(g, n, kernels.F32, false, false, false) })
	}
	add("LayerNorm", "far-from-zero", func(g *generator) *trial { return layerNorm(g, shape{5, 130}, kernels.F32, eps, 100) })
	return cases
}

// layerNorm writes y, mean, rstd of x whose mean is centre.
func layerNorm(g *generator, n shape, d kernels.DType, eps float32, centre float64) *trial {
	x := g.each("x", kernels.F32, n.rows, n.cols, func(int, int) float64 { return centre + g.rng.NormFloat64() })
	return with(func(s kernels.Stream, x []kernels.Tensor) { s.LayerNorm(x[0], x[3], x[4], x[5], eps, x[1], x[2]) },
		g.out("y", n.rows, n.cols), g.out("mean", 1, n.rows), g.out("rstd", 1, n.rows), x, g.normalOf("gamma", d, 1, n.cols, 1), g.normalOf("beta", d, 1, n.cols, 1),
	).within(func(t *trial, want [][]float64) [][]float64 {
		m := [3][]float64{}
		for i := range n.rows {
			f, mu, rstd := conditions(t.operands[3], i, want[1][i], want[2][i])
			for j := range n.cols {
				xhat := math.Abs(t.first(3, i, j)-mu) * rstd
				m[0] = append(m[0], f*(1+xhat)*math.Abs(t.first(4, 0, j))+math.Abs(t.first(5, 0, j)))
			}
			m[1] = append(m[1], f/rstd)
			m[2] = append(m[2], f*f*rstd)
		}
		return [][]float64{scaled("LayerNorm", 1, m[0]), scaled("LayerNorm", 1, m[1]), scaled("LayerNorm", 1, m[2]), nil, nil, nil}
	})
}

// conditions returns √C·(1 + mean|x|·rstd) of row i, and the statistics.
func conditions(x *operand, i int, mean, rstd float64) (f, mu, inv float64) {
	sum := 0.0
	for j := range x.cols {
		sum += math.Abs(x.value(x.data, i, j))
	}
	return math.Sqrt(float64(x.cols)) * (1 + sum/float64(x.cols)*rstd), mean, rstd
}

func rmsNorm(g *generator, n shape, d kernels.DType, eps float32) *trial {
	return with(func(s kernels.Stream, x []kernels.Tensor) { s.RMSNorm(x[0], x[2], x[3], eps, x[1]) },
		g.out("y", n.rows, n.cols), g.out("rstd", 1, n.rows), g.normal("x", n.rows, n.cols, 3), g.normalOf("gamma", d, 1, n.cols, 1),
	).within(func(t *trial, want [][]float64) [][]float64 {
		f := math.Sqrt(float64(n.cols))
		return [][]float64{scaled("RMSNorm", f, want[0]), scaled("RMSNorm", f, want[1]), nil, nil}
	})
}

// normBackward is the backward pass of LayerNorm, or of RMSNorm where centred is
// false. The statistics are those that the reference's forward pass writes.
func normBackward(g *generator, n shape, d kernels.DType, centred, accumulate, parameters bool) *trial {
	op, forward, gammaAt := "RMSNormBackward", rmsNorm(g, n, d, 1e-5), 3
	if centred {
		op, forward, gammaAt = "LayerNormBackward", layerNorm(g, n, d, 1e-5, 0.5), 4
	}
	after, err := forward.execute(context.Background(), reference.Open(), forward.run)
	if err != nil {
		panic(fmt.Sprintf("kerneltest: the reference refuses %v: %v", n, err))
	}
	for i, o := range forward.operands {
		o.data, o.output = after[i], false
	}
	x, gamma, rstd := forward.operands[gammaAt-1], forward.operands[gammaAt], forward.operands[gammaAt-2]
	mean := rstd // stands in for the absent mean, unused
	if centred {
		mean = forward.operands[1]
	}
	dx := g.out("dx", n.rows, n.cols)
	if accumulate {
		dx = written(g.normal("dx", n.rows, n.cols, 1))
	}
	operands := []*operand{dx, g.normal("dy", n.rows, n.cols, 1), x, gamma, rstd, mean}
	if parameters {
		operands = append(operands, g.out("dgamma", 1, n.cols))
		if centred {
			operands = append(operands, g.out("dbeta", 1, n.cols))
		}
	}
	return with(func(s kernels.Stream, x []kernels.Tensor) {
		x = append(x, kernels.Tensor{}, kernels.Tensor{})
		if centred {
			s.LayerNormBackward(x[0], x[6], x[7], x[1], x[2], x[3], x[5], x[4], accumulate)
		} else {
			s.RMSNormBackward(x[0], x[6], x[1], x[2], x[3], x[4], accumulate)
		}
	}, operands...).within(func(t *trial, want [][]float64) [][]float64 {
		b := normMagnitudes(t, centred)
		for i := range b {
			b[i] = scaled(op, 1, b[i])
		}
		return b
	})
}

// normMagnitudes sums absolute values of the terms of a backward pass.
func normMagnitudes(t *trial, centred bool) [][]float64 {
	rows, cols := t.operands[0].rows, t.operands[0].cols
	m := make([][]float64, len(t.operands))
	m[0] = make([]float64, rows*cols)
	dgamma, dbeta := make([]float64, cols), make([]float64, cols)
	tokens := math.Sqrt(float64(rows))
	for i := range rows {
		mean, rstd := 0.0, t.first(4, 0, i)
		if centred {
			mean = t.first(5, 0, i)
		}
		f, _, _ := conditions(t.operands[2], i, mean, rstd)
		meanE, meanEX := 0.0, 0.0
		xhat, e := make([]float64, cols), make([]float64, cols)
		for j := range cols {
			dy := math.Abs(t.first(1, i, j))
			xhat[j] = math.Abs(t.first(2, i, j)-mean) * rstd
			e[j] = dy * math.Abs(t.first(3, 0, j))
			meanE += e[j] / float64(cols)
			meanEX += e[j] * xhat[j] / float64(cols)
			dgamma[j] += tokens * dy * (xhat[j] + math.Abs(mean)*rstd)
			dbeta[j] += tokens * dy
		}
		for j := range cols {
			m[0][i*cols+j] = f*rstd*(e[j]+meanE+(1+xhat[j])*meanEX) + math.Abs(t.first(0, i, j))
			if math.IsNaN(t.first(0, i, j)) { // not accumulated
				m[0][i*cols+j] = f * rstd * (e[j] + meanE + (1+xhat[j])*meanEX)
			}
		}
	}
	if len(m) > 6 {
		m[6] = dgamma
	}
	if len(m) > 7 {
		m[7] = dbeta
	}
	return m
}
