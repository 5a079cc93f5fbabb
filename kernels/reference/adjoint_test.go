package reference_test

import (
	"math"
	"testing"

	"ressa/kernels"
)

// Linear operations are tested by their adjoint: ⟨f(x), dy⟩ = ⟨x, f*(dy)⟩.

func equal(t *testing.T, name string, a, b float64) {
	t.Helper()
	if math.Abs(a-b) > 1e-5*(1+math.Abs(a)) {
		t.Errorf("%s: ⟨f(x), dy⟩ = %v, ⟨x, f*(dy)⟩ = %v", name, a, b)
	}
}

func TestRowAdjoints(t *testing.T) {
	l := newLab(t)
	p, dy := l.random(3*5, 1), l.random(8*5, 1)
	tp, tdy, y, back := l.put(3, 5, p), l.put(8, 5, dy), l.empty(kernels.F32, 8, 5), l.empty(kernels.F32, 3, 5)
	l.s.AddRows(y, l.put(8, 5, make([]float64, 40)), tp)
	l.s.SumRowGroups(back, tdy)
	equal(t, "AddRows and SumRowGroups", product(l.get(y), dy), product(p, l.get(back)))

	index := l.integers(2, 0, 0, 2, 2, 0, 2, 0)
	l.s.GatherRows(y, tp, index)
	l.s.ScatterAddRows(back, tdy, index)
	equal(t, "GatherRows and ScatterAddRows", product(l.get(y), dy), product(p, l.get(back)))
	for j, v := range l.get(back)[5:10] {
		if v != 0 {
			t.Errorf("row 1 is not named, yet element %d is %v", j, v)
		}
	}
}

func TestRotate(t *testing.T) {
	const rows, heads, dim, positions = 3, 2, 6, 4
	l := newLab(t)
	cos, sin := make([]float64, positions*dim/2), make([]float64, positions*dim/2)
	for i := range cos {
		sin[i], cos[i] = math.Sincos(0.3 + float64(i))
	}
	tc, ts, at := l.put(positions, dim/2, cos), l.put(positions, dim/2, sin), []int32{3, 0, 3}
	x, dy := l.random(rows*heads*dim, 1), l.random(rows*heads*dim, 1)
	y := make([]float64, len(x))
	for i := range rows {
		for h := range heads {
			for j := range dim / 2 { // as complex numbers: x·e^{iφ}
				lo := (i*heads+h)*dim + j
				c, s := cos[int(at[i])*dim/2+j], sin[int(at[i])*dim/2+j]
				z := complex(x[lo], x[lo+dim/2]) * complex(c, s)
				y[lo], y[lo+dim/2] = real(z), imag(z)
			}
		}
	}
	tx, tdy := l.put(rows, heads*dim, x), l.put(rows, heads*dim, dy)
	l.s.Rotate(tx, dim, tc, ts, l.integers(at...), false)
	l.near("rotated", tx, y, rounded)
	l.s.Rotate(tdy, dim, tc, ts, l.integers(at...), true)
	equal(t, "Rotate", product(y, dy), product(x, l.get(tdy)))
}

func TestGemmForms(t *testing.T) {
	const m, n, k = 5, 6, 7
	l := newLab(t)
	a, b, c := l.random(m*k, 1), l.random(n*k, 1), l.random(m*n, 1)
	want, sum := make([]float64, m*n), make([]float64, m*n)
	transposed := func(v []float64, rows int) []float64 {
		out, cols := make([]float64, len(v)), len(v)/rows
		for i, e := range v {
			out[i%cols*rows+i/cols] = e
		}
		return out
	}
	for i := range m {
		for j := range n {
			want[i*n+j] = product(a[i*k:(i+1)*k], b[j*k:(j+1)*k])
			sum[i*n+j] = c[i*n+j] + want[i*n+j]
		}
	}
	at, bt := l.put(k, m, transposed(a, m)), l.put(k, n, transposed(b, n))
	for name, g := range map[string]kernels.GemmArgs{
		"NT": {A: l.put(m, k, a), B: l.put(n, k, b), Form: kernels.NT},
		"NN": {A: l.put(m, k, a), B: bt, Form: kernels.NN},
		"TN": {A: at, B: bt, Form: kernels.TN},
	} {
		g.C = l.put(m, n, c)
		l.s.Gemm(g)
		l.near(name, g.C, want, rounded)
		g.C, g.Accumulate = l.put(m, n, c), true
		l.s.Gemm(g)
		l.near(name+" accumulated", g.C, sum, rounded)
	}
}

func TestAdamW(t *testing.T) {
	const n, steps, lr, decay, beta1, beta2, eps, clip = 6, 5, 0.1, 0.01, 0.9, 0.999, 1e-8, 0.5
	l := newLab(t)
	p, m, v := l.random(n, 1), make([]float64, n), make([]float64, n)
	a := kernels.AdamWArgs{Param: l.put(1, n, p), M: l.put(1, n, m), V: l.put(1, n, v), LR: lr, WeightDecay: decay,
		Beta1: beta1, Beta2: beta2, Eps: eps, GradScale: clip}
	b1, b2 := float64(float32(beta1)), float64(float32(beta2))
	for step := 1; step <= steps; step++ {
		g := l.random(n, 1)
		a.Grad, a.Bias1, a.Bias2 = l.put(1, n, g), 1-math.Pow(b1, float64(step)), 1-math.Pow(b2, float64(step))
		l.s.AdamW(a)
		for i := range n {
			e := clip * g[i]
			m[i], v[i] = b1*m[i]+(1-b1)*e, b2*v[i]+(1-b2)*e*e
			p[i] = p[i]*(1-lr*decay) - lr*(m[i]/a.Bias1)/(math.Sqrt(v[i]/a.Bias2)+eps)
		}
	}
	l.near("param", a.Param, p, 2e-6)
	l.near("m", a.M, m, 1e-6)
	l.near("v", a.V, v, 1e-6)
}

func TestSumsOfSquares(t *testing.T) {
	l := newLab(t)
	x := l.put(1, 6, []float64{1, 2, 3, 4, 5, 6})
	segments, columns := l.empty(kernels.F64, 1, 3), l.empty(kernels.F64, 1, 3)
	l.s.SegmentSumSquares(segments, x, []int{1, 3, 3, 6})
	l.near("segments", segments, []float64{4 + 9, 0, 16 + 25 + 36}, 0)
	l.s.ColumnSumSquares(columns, x.Reshape(2, 3))
	l.near("columns", columns, []float64{1 + 16, 4 + 25, 9 + 36}, 0)
}
