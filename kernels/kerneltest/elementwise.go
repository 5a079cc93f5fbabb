package kerneltest

import (
	"fmt"
	"math"

	"ressa/kernels"
)

// shape is rows × columns of a case.
type shape struct{ rows, cols int }

func (s shape) String() string { return fmt.Sprintf("%dx%d", s.rows, s.cols) }

// shapes are on and off any tile and vector width; the last is large enough to
// be shared among threads.
func shapes() []shape {
	return []shape{{1, 1}, {1, 17}, {3, 7}, {7, 63}, {5, 64}, {2, 65}, {17, 130}, {1, 257}, {130, 515}}
}

// both returns a case on dense operands and on views with offset and stride.
func both(op, name string, build func(g *generator) *trial) []testCase {
	return []testCase{{op: op, name: name, build: build}, {op: op, name: name, strided: true, build: build}}
}

func elementwiseCases() (cases []testCase) {
	add := func(op, name string, build func(g *generator) *trial) {
		cases = append(cases, both(op, name, build)...)
	}
	for _, n := range shapes() {
		add("Fill", n.String(), func(g *generator) *trial {
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.Fill(x[0], -1.25) }, g.out("dst", n.rows, n.cols))
		})
		for _, d := range []struct{ dst, src kernels.DType }{
			{kernels.F32, kernels.F32}, {kernels.BF16, kernels.F32}, {kernels.F32, kernels.BF16}, {kernels.BF16, kernels.BF16},
		} {
			add("Convert", fmt.Sprintf("%v-to-%v-%v", d.src, d.dst, n), func(g *generator) *trial { return convert(g, n, d.dst, d.src) })
		}
		add("Add", n.String(), func(g *generator) *trial {
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.Add(x[0], x[1], x[2]) },
				g.out("dst", n.rows, n.cols), g.normal("a", n.rows, n.cols, 1), g.normal("b", n.rows, n.cols, 1))
		})
		add("Add", "into-a-"+n.String(), func(g *generator) *trial {
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.Add(x[0], x[0], x[1]) },
				written(g.normal("a", n.rows, n.cols, 1)), g.normal("b", n.rows, n.cols, 1))
		})
		add("Add", "into-b-"+n.String(), func(g *generator) *trial {
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.Add(x[1], x[0], x[1]) },
				g.normal("a", n.rows, n.cols, 1), written(g.normal("b", n.rows, n.cols, 1)))
		})
		for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
			add("AddRounded", fmt.Sprintf("%v-%v", d, n), func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.AddRounded(x[0], x[1], x[2], d) },
					g.out("dst", n.rows, n.cols), g.normal("a", n.rows, n.cols, 1), g.normal("b", n.rows, n.cols, 1e-2))
			})
			add("AddRounded", fmt.Sprintf("%v-into-both-%v", d, n), func(g *generator) *trial {
				return with(func(s kernels.Stream, x []kernels.Tensor) { s.AddRounded(x[0], x[0], x[0], d) },
					written(g.normal("a", n.rows, n.cols, 1)))
			})
		}
		add("Rotate", n.String(), func(g *generator) *trial { return rotate(g, n.rows, 2, 2*n.cols, false) })
		add("Rotate", "inverse-"+n.String(), func(g *generator) *trial { return rotate(g, n.rows, 1, 2*n.cols, true) })
		add("ArgmaxRows", n.String(), func(g *generator) *trial {
			return with(func(s kernels.Stream, x []kernels.Tensor) { s.ArgmaxRows(x[0], x[1]) },
				written(g.blank("dst", kernels.I32, 1, n.rows)),
				// Few distinct values, so that the lowest of several equal ones is asked for.
				g.each("x", kernels.F32, n.rows, n.cols, func(int, int) float64 { return float64(g.rng.IntN(9) - 20) }))
		})
	}
	for _, d := range []int{16, 32, 64, 80, 128} {
		add("Rotate", fmt.Sprintf("heads-of-%d", d), func(g *generator) *trial { return rotate(g, 9, 3, d, d == 64) })
	}
	add("ArgmaxRows", "infinite", func(g *generator) *trial {
		return with(func(s kernels.Stream, x []kernels.Tensor) { s.ArgmaxRows(x[0], x[1]) },
			written(g.blank("dst", kernels.I32, 1, 3)),
			g.each("x", kernels.F32, 3, 70, func(i, j int) float64 {
				if i == 1 && j == 66 || i == 2 && j >= 33 {
					return math.Inf(1)
				}
				return math.Inf(-1)
			}))
	})
	return cases
}

// convert has the hard cases of rounding in its first elements: ties to even both
// ways, overflow to infinity, zeros of both signs, a subnormal.
func convert(g *generator, n shape, dst, src kernels.DType) *trial {
	hard := []uint32{0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0x80000000, 0, 0x00000001, 0x00018000, 0xff800000, 0xbf80ffff}
	return with(func(s kernels.Stream, x []kernels.Tensor) { s.Convert(x[0], x[1]) },
		written(g.blank("dst", dst, n.rows, n.cols)),
		g.each("src", src, n.rows, n.cols, func(i, j int) float64 {
			if k := i*n.cols + j; k < len(hard) {
				return float64(math.Float32frombits(hard[k]))
			}
			return g.rng.NormFloat64()
		}))
}

// rotate has an angle per position and pair, and positions that repeat.
func rotate(g *generator, rows, heads, headDim int, inverse bool) *trial {
	positions, h := 11, headDim/2
	angle := func(p, j int) float64 { return float64(p) / math.Pow(100, float64(j)/float64(h)) }
	return with(func(s kernels.Stream, x []kernels.Tensor) { s.Rotate(x[0], headDim, x[1], x[2], x[3], inverse) },
		written(g.normal("x", rows, heads*headDim, 1)),
		g.each("cos", kernels.F32, positions, h, func(p, j int) float64 { return math.Cos(angle(p, j)) }),
		g.each("sin", kernels.F32, positions, h, func(p, j int) float64 { return math.Sin(angle(p, j)) }),
		g.indices("positions", rows, func(int) int { return g.rng.IntN(positions) }),
	).within(elementwise("Rotate", 0, func(t *trial, i, j int) float64 {
		at := j % headDim
		return math.Abs(t.first(0, i, j)) + math.Abs(t.first(0, i, j-at+(at+h)%headDim))
	}))
}
