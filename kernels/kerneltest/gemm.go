package kerneltest

import (
	"fmt"

	"ressa/kernels"
)

func gemmCases() (cases []testCase) {
	sizes := [][3]int{ // M, N, K
		{1, 1, 1}, {1, 1, 257}, {3, 7, 1}, {1, 64, 17}, {7, 3, 63}, {17, 65, 64}, {64, 64, 64}, {63, 17, 130},
		{65, 130, 7}, {130, 257, 65}, {257, 1, 130}, {1, 257, 257}, {257, 130, 300},
	}
	names := map[kernels.GemmForm]string{kernels.NT: "nt", kernels.NN: "nn", kernels.TN: "tn"}
	for form := kernels.NT; form <= kernels.TN; form++ {
		for n, size := range sizes {
			// Each size takes other dtypes, so that all pairs occur in all forms.
			dA, dB := kernels.DType(n&1), kernels.DType(n>>1&1)
			for _, accumulate := range []bool{false, true} {
				name := fmt.Sprintf("%s-%dx%dx%d-%v-%v", names[form], size[0], size[1], size[2], dA, dB)
				if accumulate {
					name += "-accumulate"
				}
				cases = append(cases, both("Gemm", name, func(g *generator) *trial {
					return gemm(g, form, size[0], size[1], size[2], dA, dB, accumulate)
				})...)
			}
		}
	}
	return cases
}

func gemm(g *generator, form kernels.GemmForm, m, n, k int, dA, dB kernels.DType, accumulate bool) *trial {
	a, b := shape{m, k}, shape{n, k}
	switch form {
	case kernels.NN:
		b = shape{k, n}
	case kernels.TN:
		a, b = shape{k, m}, shape{k, n}
	}
	c := g.out("C", m, n)
	if accumulate {
		c = written(g.normal("C", m, n, 1))
	}
	return with(func(s kernels.Stream, x []kernels.Tensor) {
		s.Gemm(kernels.GemmArgs{C: x[0], A: x[1], B: x[2], Form: form, Accumulate: accumulate})
	}, c, g.factorOf("A", dA, a.rows, a.cols, 1), g.factorOf("B", dB, b.rows, b.cols, 1),
	).within(summed("Gemm", float64(k), []int{0}, 0, 1, 2))
}
