package kerneltest

import (
	"fmt"
	"math"
	"slices"

	"ressa/kernels"
)

// rowCases are the operations that move or sum whole rows.
func rowCases() (cases []testCase) {
	add := func(op, name string, build func(g *generator) *trial) {
		cases = append(cases, both(op, name, build)...)
	}
	for _, n := range shapes() {
		periods := []int{1, 3, n.rows}
		slices.Sort(periods)
		for _, period := range slices.Compact(periods) {
			for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
				add("AddRows", fmt.Sprintf("%v-every-%d-%v", n, period, d), func(g *generator) *trial {
					return with(func(s kernels.Stream, x []kernels.Tensor) { s.AddRows(x[0], x[1], x[2]) },
						g.out("dst", n.rows, n.cols), g.normal("x", n.rows, n.cols, 1), g.normalOf("p", d, period, n.cols, 1))
				})
			}
			add("SumRowGroups", fmt.Sprintf("%v-every-%d", n, period), func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.SumRowGroups(x[0], x[1]) },
					g.out("dst", period, n.cols), g.normal("x", n.rows, n.cols, 1),
				).within(summed("SumRowGroups", float64(n.rows), []int{0}, 1))
			})
		}
		add("AddRows", "in-place-"+n.String(), func(g *generator) *trial {
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.AddRows(x[0], x[0], x[1]) },
				written(g.normal("x", n.rows, n.cols, 1)), g.normal("p", 1, n.cols, 1))
		})
		for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
			add("GatherRows", fmt.Sprintf("%v-%v", d, n), func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.GatherRows(x[0], x[1], x[2]) },
					g.out("dst", n.rows, n.cols), g.normalOf("src", d, 6, n.cols, 1), g.indices("index", n.rows, func(int) int { return g.rng.IntN(6) }))
			})
		}
		add("ScatterRows", n.String(), func(g *generator) *trial {
			rows := g.rng.Perm(n.rows + 4) // four rows are not named
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.ScatterRows(x[0], x[1], x[2]) },
				written(g.normal("dst", n.rows+4, n.cols, 1)), g.normal("src", n.rows, n.cols, 1), g.indices("index", n.rows, func(i int) int { return rows[i] }))
		})
		add("ScatterAddRows", n.String(), func(g *generator) *trial {
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.ScatterAddRows(x[0], x[1], x[2]) },
				g.out("dst", 5, n.cols), g.normal("src", n.rows, n.cols, 1), g.indices("index", n.rows, func(int) int { return g.rng.IntN(4) })) // row 4 is not named
		})
		add("ColumnSumSquares", n.String(), func(g *generator) *trial {
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.ColumnSumSquares(x[0], x[1]) },
				written(g.blank("dst", kernels.F64, 1, n.cols)), g.normal("x", n.rows, n.cols, 100))
		})
	}
	for _, n := range []int{1, 7, 64, 1000, 70001} {
		add("SegmentSumSquares", fmt.Sprint(n), func(g *generator) *trial {
			offsets := []int{0, n / 3, n / 3, n - n/4, n} // one segment is empty
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.SegmentSumSquares(x[0], x[1], offsets) },
				written(g.blank("dst", kernels.F64, 1, 4)), g.normal("x", 1, n, 1e-3),
			).within(func(t *trial, want [][]float64) [][]float64 {
				return [][]float64{scaled("SegmentSumSquares", math.Sqrt(float64(n)), want[0]), nil}
			})
		})
	}
	return cases
}
