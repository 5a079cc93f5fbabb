package reference_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"ressa/kernels"
)

// The forward functions below are written once more, in float64 and as plainly as
// possible; the reference's forward must equal them and its backward their
// differences.

// function returns activation f by its textbook formula.
func function(f kernels.Activation) func(x float64) float64 {
	sigma := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	return [...]func(x float64) float64{
		kernels.GELU: func(x float64) float64 { return x / 2 * (1 + math.Erf(x/math.Sqrt2)) },
		kernels.GELUTanh: func(x float64) float64 {
			return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*math.Pow(x, 3))))
		},
		kernels.QuickGELU: func(x float64) float64 { return x * sigma(1.702*x) },
		kernels.SiLU:      func(x float64) float64 { return x * sigma(x) },
		kernels.ReLU:      func(x float64) float64 { return math.Max(x, 0) },
	}[f]
}

func TestActivationGradients(t *testing.T) {
	for f := kernels.GELU; f <= kernels.ReLU; f++ {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			l, fn, n := newLab(t), function(f), 40
			x, up, dy := l.random(n, 2), l.random(n, 1), l.random(n, 1)
			y, gated := make([]float64, n), make([]float64, n)
			forward := func() float64 {
				for i, v := range x {
					y[i] = fn(v)
				}
				return product(dy, y)
			}
			gate := func() float64 {
				for i, v := range x {
					gated[i] = fn(v) * up[i]
				}
				return product(dy, gated)
			}
			tx, tup, tdy, out, other := l.put(4, 10, x), l.put(4, 10, up), l.put(4, 10, dy), l.put(4, 10, dy), l.put(4, 10, dy)
			forward()
			l.s.Activate(out, tx, f)
			l.near("y", out, y, rounded)
			l.s.ActivateBackward(out, tdy, tx, f)
			l.near("dx", out, gradient(forward, x), differed)
			gate()
			l.s.Gate(out, tx, tup, f)
			l.near("gated", out, gated, rounded)
			l.s.GateBackward(out, other, tdy, tx, tup, f)
			l.near("dgate", out, gradient(gate, x), differed)
			l.near("dup", other, gradient(gate, up), differed)
		})
	}
}

func TestLinearGradients(t *testing.T) {
	const tokens, in, out, r, scale = 5, 70, 7, 3, 0.75
	l := newLab(t)
	x, dy, w := l.random(tokens*in, 1), l.random(tokens*out, 1), l.random(out*in, 0.2)
	a, b, bias := l.random(r*in, 0.2), l.random(out*r, 0.5), l.random(out, 1)
	keep := make([]bool, out*in)
	words := make([]byte, out*2*8)
	for o := range out {
		for i := range in {
			if keep[o*in+i] = o != 2 && (o == 3 || l.rng.IntN(2) == 1); keep[o*in+i] { // row 2 is empty, row 3 full
				at := words[(o*2+i/64)*8:]
				binary.LittleEndian.PutUint64(at, binary.LittleEndian.Uint64(at)|1<<(i%64))
			}
		}
	}
	effective := func() []float64 {
		e := make([]float64, out*in)
		for o := range out {
			for i := range in {
				if keep[o*in+i] {
					e[o*in+i] = w[o*in+i]
					for k := range r {
						e[o*in+i] += scale * b[o*r+k] * a[k*in+i]
					}
				}
			}
		}
		return e
	}
	y := make([]float64, tokens*out)
	forward := func() float64 {
		e := effective()
		for t := range tokens {
			for o := range out {
				y[t*out+o] = bias[o] + product(x[t*in:(t+1)*in], e[o*in:(o+1)*in])
			}
		}
		return product(dy, y)
	}
	mask := l.empty(kernels.U64, out, 2)
	l.s.Upload(mask, words)
	weight := kernels.LinearWeight{W: l.put(out, in, w), Mask: mask, A: l.put(r, in, a), B: l.put(out, r, b), Scale: scale}
	tx, tdy := l.put(tokens, in, x), l.put(tokens, out, dy)

	we, ty := l.empty(kernels.F32, out, in), l.empty(kernels.F32, tokens, out)
	l.s.EffectiveWeight(we, weight)
	l.near("W_eff", we, effective(), rounded)
	forward()
	l.s.LinearForward(ty, tx, weight, l.put(1, out, bias))
	l.near("y", ty, y, rounded)
	dx, dA, dB := l.empty(kernels.F32, tokens, in), l.empty(kernels.F32, r, in), l.empty(kernels.F32, out, r)
	l.s.LinearBackwardInput(dx, tdy, weight, false)
	l.near("dx", dx, gradient(forward, x), differed)
	l.s.LinearBackwardAdapter(dA, dB, tdy, tx, weight)
	l.near("dA", dA, gradient(forward, a), differed)
	l.near("dB", dB, gradient(forward, b), differed)
	dW := l.empty(kernels.F32, out, in)
	l.s.LinearBackwardWeight(dW, tdy, tx, mask)
	l.near("dW", dW, gradient(forward, w), differed)
}

func TestNormGradients(t *testing.T) {
	const rows, cols, eps = 4, 9, 1e-3
	for _, centred := range []bool{true, false} {
		l := newLab(t)
		x, dy, gamma, beta := l.random(rows*cols, 2), l.random(rows*cols, 1), l.random(cols, 1), l.random(cols, 1)
		if !centred {
			clear(beta)
		}
		y := make([]float64, rows*cols)
		forward := func() float64 {
			for i := range rows {
				row, mean, variance := x[i*cols:(i+1)*cols], 0.0, 0.0
				for _, v := range row {
					if centred {
						mean += v / cols
					}
				}
				for _, v := range row {
					variance += (v - mean) * (v - mean) / cols
				}
				for j, v := range row {
					y[i*cols+j] = (v-mean)/math.Sqrt(variance+float64(float32(eps)))*gamma[j] + beta[j]
				}
			}
			return product(dy, y)
		}
		tx, tdy, tg, tb := l.put(rows, cols, x), l.put(rows, cols, dy), l.put(1, cols, gamma), l.put(1, cols, beta)
		out, mean, rstd := l.empty(kernels.F32, rows, cols), l.empty(kernels.F32, 1, rows), l.empty(kernels.F32, 1, rows)
		dx, dg, db := l.empty(kernels.F32, rows, cols), l.empty(kernels.F32, 1, cols), l.empty(kernels.F32, 1, cols)
		if centred {
			l.s.LayerNorm(out, tx, tg, tb, eps, mean, rstd)
			l.s.LayerNormBackward(dx, dg, db, tdy, tx, tg, mean, rstd, false)
			l.s.LayerNormBackward(dx, dg, db, tdy, tx, tg, mean, rstd, true)
			l.near("dbeta", db, gradient(forward, beta), differed)
		} else {
			l.s.RMSNorm(out, tx, tg, eps, rstd)
			l.s.RMSNormBackward(dx, dg, tdy, tx, tg, rstd, false)
			l.s.RMSNormBackward(dx, dg, tdy, tx, tg, rstd, true)
		}
		forward()
		l.near("y", out, y, rounded)
		l.near("dgamma", dg, gradient(forward, gamma), differed)
		twice := gradient(forward, x)
		for i := range twice {
			twice[i] *= 2 // written, then accumulated
		}
		l.near("dx", dx, twice, 2*differed)
	}
}
