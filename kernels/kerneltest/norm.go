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
	for _, n := range append(shapes(), shape{9, 1024}, shape{2, 4500}) {
		for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
			name := fmt.Sprintf("%v-%v", n, d)
			add("LayerNorm", name, func(g *generator) *trial { return layerNorm(g, n, d, eps, 0.5) })
			add("RMSNorm", name, func(g *generator) *trial { return rmsNorm(g, n, d, eps) })
			for at, into := range []string{"", "-into-x", "-into-r"} {
				add("AddLayerNorm", name+into, func(g *generator) *trial { return addNorm(g, n, d, eps, true, at) })
				add("AddRMSNorm", name+into, func(g *generator) *trial { return addNorm(g, n, d, eps, false, at) })
			}
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
		return layerNormBounds(t, want, n, t.operands[3].values(t.operands[3].data))
	})
}

// layerNormBounds bounds y, mean and rstd of x; gamma and beta are operands 4 and 5.
func layerNormBounds(t *trial, want [][]float64, n shape, x []float64) [][]float64 {
	b := make([][]float64, len(t.operands))
	for i := range n.rows {
		row, rstd := x[i*n.cols:(i+1)*n.cols], want[2][i]
		f := condition(row, rstd)
		for j, v := range row {
			xhat := math.Abs(v-want[1][i]) * rstd
			b[0] = append(b[0], f*(1+xhat)*math.Abs(t.first(4, 0, j))+math.Abs(t.first(5, 0, j)))
		}
		b[1] = append(b[1], f/rstd)
		b[2] = append(b[2], f*f*rstd)
	}
	for k := range 3 {
		b[k] = scaled("LayerNorm", 1, b[k])
	}
	return b
}

// condition returns √C·(1 + mean|x|·rstd) of a row.
func condition(row []float64, rstd float64) float64 {
	sum := 0.0
	for _, v := range row {
		sum += math.Abs(v)
	}
	n := float64(len(row))
	return math.Sqrt(n) * (1 + sum/n*rstd)
}

// addNorm is a norm of h = x + r, with h in memory of its own (0) or in place of x
// (1) or r (2).
func addNorm(g *generator, n shape, d kernels.DType, eps float32, centred bool, at int) *trial {
	x, r := g.normal("x", n.rows, n.cols, 2), g.normal("r", n.rows, n.cols, 1)
	h := g.out("h", n.rows, n.cols)
	switch at {
	case 1:
		x = written(x)
		h = x
	case 2:
		r = written(r)
		h = r
	}
	sum := make([]float64, 0, n.rows*n.cols)
	rs := r.values(r.data)
	for i, v := range x.values(x.data) {
		sum = append(sum, float64(float32(v)+float32(rs[i])))
	}
	operands := []*operand{g.out("y", n.rows, n.cols), g.out("mean", 1, n.rows), g.out("rstd", 1, n.rows), x,
		g.normalOf("gamma", d, 1, n.cols, 1), g.normalOf("beta", d, 1, n.cols, 1), r}
	if !centred {
		operands[1].output = false // stands in for the absent mean
	}
	if at == 0 {
		operands = append(operands, h)
	}
	return with(func(s kernels.Stream, x []kernels.Tensor) {
		h := []kernels.Tensor{x[len(x)-1], x[3], x[6]}[at]
		if centred {
			s.AddLayerNorm(x[0], h, x[3], x[6], x[4], x[5], eps, x[1], x[2])
		} else {
			s.AddRMSNorm(x[0], h, x[3], x[6], x[4], eps, x[2])
		}
	}, operands...).within(func(t *trial, want [][]float64) [][]float64 {
		if centred {
			return layerNormBounds(t, want, n, sum)
		}
		b := make([][]float64, len(t.operands))
		f := math.Sqrt(float64(n.cols))
		b[0], b[2] = scaled("AddRMSNorm", f, want[0]), scaled("AddRMSNorm", f, want[2])
		return b
	})
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
		row := make([]float64, cols)
		for j := range row {
			row[j] = t.first(2, i, j)
		}
		f := condition(row, rstd)
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
