//go:build cgo

package cpu

import (
	"fmt"
	"math"
	"testing"

	"ressa/kernels"
)

// gemmShapes reach every tile size, edges on all sides, several blocks of k and
// of columns, and both ways to read A.
var gemmShapes = [][3]int{
	{1, 1, 1}, {2, 3, 5}, {7, 33, 65}, {12, 32, 64}, {13, 31, 17}, {25, 100, 64}, {97, 40, 300},
	{50, 1100, 70}, {100, 65, 700}, {5, 16, 1030}, {200, 130, 129}, {11, 4, 600}, {64, 64, 1100},
}

func TestGemm(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		for _, d := range gemmShapes {
			m, n, k := d[0], d[1], d[2]
			for _, form := range []kernels.GemmForm{kernels.NT, kernels.NN, kernels.TN} {
				for _, types := range [][2]kernels.DType{{kernels.F32, kernels.F32}, {kernels.BF16, kernels.BF16}} {
					for _, accumulate := range []bool{false, true} {
						name := fmt.Sprintf("%dx%dx%d form %d %v accumulate %v", m, n, k, form, types, accumulate)
						r := newRig(t, Options{Variant: variant, Threads: 2})
						checkGemm(r, name, m, n, k, form, types, accumulate)
					}
				}
			}
		}
	})
}

func checkGemm(r *rig, name string, m, n, k int, form kernels.GemmForm, types [2]kernels.DType, accumulate bool) {
	r.t.Helper()
	ar, ac, br, bc := m, k, n, k
	if form != kernels.NT {
		br, bc = k, n
	}
	if form == kernels.TN {
		ar, ac = k, m
	}
	a, b, c := r.tensor(types[0], ar, ac, 3), r.tensor(types[1], br, bc, 0), r.tensor(kernels.F32, m, n, 5)
	av, bv := r.random(a), r.random(b)
	border := r.random(kernels.NewTensor(c.Buffer, kernels.F32, 1, m*(n+5)+5))
	r.s.Gemm(kernels.GemmArgs{A: a, B: b, C: c, Form: form, Accumulate: accumulate})
	want := make([]float64, m*n)
	for i := range m {
		for j := range n {
			sum := 0.0
			if accumulate {
				sum = border[i*(n+5)+j]
			}
			for p := range k {
				ai, bi := i*ac+p, j*bc+p
				if form == kernels.TN {
					ai = p*ac + i
				}
				if form != kernels.NT {
					bi = p*bc + j
				}
				sum += av[ai] * bv[bi]
			}
			want[i*n+j] = sum
		}
	}
	r.close(name, r.floats(c), want, 2e-6*math.Sqrt(float64(k))*4+1e-6)
	whole := r.floats(kernels.NewTensor(c.Buffer, kernels.F32, 1, m*(n+5)+5))
	for i, v := range whole {
		if (i >= m*(n+5) || i%(n+5) >= n) && float64(v) != border[i] {
			r.t.Fatalf("%s: wrote outside C, at element %d", name, i)
		}
	}
}
