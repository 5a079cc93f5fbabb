package kerneltest

import (
	"encoding/binary"
	"fmt"
	"math"

	"ressa/kernels"
)

// selections are rows × groups of n:m. Some groups divide a mask word, others lie
// across two; some rows end within a block of groups.
func selections() (all []struct{ rows, groups, n, m int }) {
	for _, p := range []struct{ n, m int }{{1, 2}, {2, 4}, {1, 4}, {4, 8}, {3, 5}, {7, 16}, {5, 32}, {44, 45}, {1, 63}, {1, 64}, {63, 64}} {
		for _, s := range []shape{{1, 1}, {3, 7}, {5, 16}, {2, 33}} {
			all = append(all, struct{ rows, groups, n, m int }{s.rows, s.cols, p.n, p.m})
		}
	}
	// Large enough for several threads, and for several tiles of 256 groups.
	return append(all, struct{ rows, groups, n, m int }{130, 129, 2, 4}, struct{ rows, groups, n, m int }{3, 700, 2, 4}, struct{ rows, groups, n, m int }{2, 600, 2, 7})
}

func maskingCases() (cases []testCase) {
	add := func(op, name string, build func(g *generator) *trial) {
		cases = append(cases, both(op, name, build)...)
	}
	for _, s := range selections() {
		for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
			for _, kind := range []string{"random", "ties", "no-norms", "bad"} {
				add("SelectMask", fmt.Sprintf("%d:%d-%dx%d-%v-%s", s.n, s.m, s.rows, s.groups*s.m, d, kind), func(g *generator) *trial {
					return selectMask(g, s.rows, s.groups*s.m, s.n, s.m, d, kind)
				})
			}
		}
	}
	for _, n := range append(shapes(), shape{1, 3000}, shape{9, 1024}, shape{600, 40}) {
		for _, kind := range []string{"random", "2:4", "rows", "full", "empty"} {
			add("PackKept", fmt.Sprintf("%v-%s", n, kind), func(g *generator) *trial { return packKept(g, n, kind, false) })
			add("UnpackKept", fmt.Sprintf("%v-%s", n, kind), func(g *generator) *trial { return packKept(g, n, kind, true) })
		}
	}
	return cases
}

func selectMask(g *generator, rows, cols, n, m int, d kernels.DType, kind string) *trial {
	hard := []float64{0, math.Copysign(0, -1), 0x1p-126, -0x1p-126, 3e38, -3e38}
	w := g.each("w", d, rows, cols, func(int, int) float64 {
		switch k := g.rng.IntN(8); {
		case k == 0:
			return hard[g.rng.IntN(len(hard))]
		case kind == "ties":
			return float64(g.rng.IntN(5) - 2) // of both signs
		default:
			return g.rng.NormFloat64()
		}
	})
	norms := g.each("norms", kernels.F64, 1, cols, func(int, int) float64 {
		switch k := g.rng.IntN(10); {
		case k == 0:
			return 0
		case k == 1:
			return math.Copysign(0, -1) // makes a score of −0, which is equal to 0
		case k == 2:
			return 1e-310 // products lose bits
		case kind == "ties":
			return float64(1 + g.rng.IntN(2))
		default:
			// A neighbour of 1 tells float64 products from float32 ones.
			return 1 + float64(g.rng.IntN(3))*0x1p-52
		}
	})
	if kind == "bad" {
		for i, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			w.set(g.rng.IntN(rows), g.rng.IntN(cols), v)
			if c := g.rng.IntN(cols); i == 0 {
				norms.set(0, c, -1) // bad but where the weight is 0
			} else if rows == 2 {
				norms.set(0, c, 1e300) // overflows with some weights
			}
		}
	}
	operands := []*operand{written(g.blank("mask", kernels.U64, rows, kernels.MaskWords(cols))), written(g.blank("bad", kernels.I32, 1, rows)), w}
	if kind != "no-norms" {
		operands = append(operands, norms)
	}
	return with(func(s kernels.Stream, x []kernels.Tensor) {
		a := kernels.SelectMaskArgs{Mask: x[0], Bad: x[1], W: x[2], N: n, M: m}
		if kind != "no-norms" {
			a.Norms = x[3]
		}
		s.SelectMask(a)
	}, operands...)
}

// packKept packs or unpacks with a mask whose bits beyond the columns are set.
func packKept(g *generator, n shape, kind string, back bool) *trial {
	mask := g.keep(kind, n.rows, n.cols)
	words := g.masked("mask", *mask)
	if tail := n.cols % 64; tail > 0 {
		for r := range n.rows {
			last := words.data[words.at(r, n.cols/64):]
			binary.LittleEndian.PutUint64(last, binary.LittleEndian.Uint64(last)|^uint64(0)<<tail)
		}
	}
	if back {
		matrix := g.out("dst", n.rows, n.cols)
		matrix.mask = mask
		return with(func(s kernels.Stream, x []kernels.Tensor) { s.UnpackKept(x[0], x[1], x[2]) },
			matrix, g.normal("src", 1, mask.Count(), 1), words)
	}
	return with(func(s kernels.Stream, x []kernels.Tensor) { s.PackKept(x[0], x[1], x[2]) },
		g.out("dst", 1, mask.Count()), g.normal("src", n.rows, n.cols, 1), words)
}
