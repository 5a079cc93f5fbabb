package kerneltest

import (
	"fmt"
	"math"
	"strings"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// layer describes the linear layer of a case.
type layer struct {
	layerShape
	packed bool // the weight without its zeros; needs a mask
}

type layerShape struct {
	tokens, in, out, rank int // rank 0: no adapter
	mask                  string
	w, round              kernels.DType
	bias                  string // "", "fp32" or "bf16"
	scale                 float32
}

func (l layer) String() string {
	s := fmt.Sprintf("%dx%dx%d-r%d-%s-%v-to-%v", l.tokens, l.in, l.out, l.rank, strings.ReplaceAll(l.mask, " ", "-"), l.w, l.round)
	if l.bias != "" {
		s += "-bias-" + l.bias
	}
	if l.packed {
		s += "-packed"
	}
	return s
}

func layers() []layer {
	const f, b = kernels.F32, kernels.BF16
	shapes := []layerShape{
		{1, 1, 1, 1, "full", f, f, "", 2},
		{1, 1, 1, 1, "empty", b, b, "fp32", 2},
		{3, 7, 17, 0, "none", f, f, "", 0},
		{7, 63, 3, 0, "none", b, b, "bf16", 0},
		{5, 65, 9, 0, "random", f, b, "fp32", 0},
		{1, 64, 64, 1, "2:4", b, b, "", 2},
		{17, 64, 63, 2, "none", f, f, "fp32", 0.5},
		{63, 130, 65, 3, "random", f, f, "bf16", 2},
		{64, 64, 64, 8, "4:8", f, f, "", 1},
		{65, 17, 130, 4, "1:3", b, f, "", 2},
		{33, 128, 30, 8, "rows", b, b, "fp32", 4},
		{130, 65, 257, 16, "2:4", b, b, "bf16", 2},
		{257, 257, 64, 17, "random", b, b, "", 0.25},
		{2, 300, 200, 7, "rows", f, f, "", 2},
		{40, 96, 150, 65, "5:64", f, f, "fp32", 1},
		{200, 260, 310, 8, "random", f, f, "", 2},
		{70, 600, 300, 5, "5:16", b, b, "fp32", 2}, // several chains of k, blocks of rows and parts of columns
		{2100, 40, 33, 3, "random", f, f, "", 2},   // several ranges of tokens
		{70, 260, 150, 5, "2:4", f, b, "fp32", 2},
		{140, 132, 135, 3, "up to 2:4", b, b, "", 1},
		{66, 192, 64, 4, "2:4", f, f, "bf16", 1},
		{150, 70, 20, 0, "1:4", b, f, "", 0},
		{32, 148, 70, 2, "random", f, b, "bf16", 2},
	}
	var all []layer
	for _, s := range shapes {
		all = append(all, layer{layerShape: s})
		if s.mask != "none" && s.tokens*s.in*s.out < 1<<23 {
			all = append(all, layer{s, true})
		}
	}
	return all
}

// keep returns the mask of a kind; nil for "none". "rows" has empty and full rows
// among random ones; "up to" a pattern keeps some of what it would.
func (g *generator) keep(kind string, rows, cols int) *sparse.Mask {
	if kind == "none" {
		return nil
	}
	m := sparse.New(rows, cols)
	kind, some := strings.CutPrefix(kind, "up to ")
	pattern, err := sparse.ParsePattern(kind)
	for r := range rows {
		switch {
		case err == nil:
			for lo := 0; lo < cols; lo += pattern.M {
				width := min(pattern.M, cols-lo)
				for _, c := range g.rng.Perm(width)[:width-pattern.Drop(width)] {
					m.Set(r, lo+c, !some || g.rng.IntN(2) == 1)
				}
			}
		case kind == "empty" || kind == "rows" && r%5 == 1:
		default:
			for c := range cols {
				m.Set(r, c, kind == "full" || kind == "rows" && r%5 == 3 || g.rng.IntN(2) == 1)
			}
		}
	}
	return &m
}

// weight returns the operands of a layer's weight, after `at` others, and what
// makes a LinearWeight of their tensors.
func (g *generator) weight(l layer, at int) ([]*operand, *sparse.Mask, func(x []kernels.Tensor) kernels.LinearWeight) {
	mask, adapter, kept := g.keep(l.mask, l.out, l.in), -1, 0
	if mask != nil {
		kept = mask.Count()
	}
	deviation := 1 / math.Sqrt(float64(l.in))
	ops := []*operand{nil}
	if mask != nil {
		ops = append(ops, g.masked("mask", *mask))
	}
	if l.packed {
		ops[0] = g.normalOf("packed W", l.w, 1, kept, deviation)
		ops = append(ops, g.tileStarts(*mask))
	} else {
		ops[0] = g.normalOf("W", l.w, l.out, l.in, deviation)
	}
	if l.rank > 0 {
		adapter = at + len(ops)
		ops = append(ops, g.normal("A", l.rank, l.in, 1/math.Sqrt(float64(l.in))), g.normal("B", l.out, l.rank, 0.1))
	}
	return ops, mask, func(x []kernels.Tensor) kernels.LinearWeight {
		w := kernels.LinearWeight{W: x[at], Scale: l.scale, Round: l.round}
		if mask != nil {
			w.Mask, w.Kept, w.TwoOfFour = x[at+1], kept, mask.TwoOfFour()
		}
		if l.packed {
			w.W, w.Packed = kernels.Tensor{}, kernels.PackedWeight{Out: l.out, In: l.in, Values: x[at], Offsets: x[at+2]}
		}
		if adapter >= 0 {
			w.A, w.B = x[adapter], x[adapter+1]
		}
		return w
	}
}

// tileStarts returns the offsets of a weight that is packed with a mask.
func (g *generator) tileStarts(m sparse.Mask) *operand {
	p, err := sparse.Pack(m, kernels.BF16, make([]byte, 2*m.Rows*m.Cols))
	if err != nil {
		panic(fmt.Sprintf("kerneltest: %v", err))
	}
	across := kernels.MaskWords(m.Cols)
	return g.each("packed offsets", kernels.I32, kernels.MaskWords(m.Rows), across, func(i, j int) float64 { return float64(p.Offsets[i*across+j]) })
}

func linearCases() (cases []testCase) {
	for _, l := range layers() {
		add := func(op, variant string, build func(g *generator, l layer) *trial) {
			cases = append(cases, both(op, l.String()+variant, func(g *generator) *trial { return build(g, l) })...)
		}
		add("EffectiveWeight", "", effectiveWeight)
		add("LinearForward", "", linearForward)
		add("LinearBackwardInput", "", func(g *generator, l layer) *trial { return linearBackwardInput(g, l, false) })
		add("LinearBackwardInput", "-accumulate", func(g *generator, l layer) *trial { return linearBackwardInput(g, l, true) })
		add("LinearBackwardWeight", "", linearBackwardWeight)
		if l.rank > 0 {
			add("LinearBackwardAdapter", "", linearBackwardAdapter)
		}
	}
	return cases
}

// rounding is what the effective weight of a layer is rounded to where it is multiplied.
func (g *generator) rounding(l layer) kernels.DType {
	if g.factors == kernels.BF16 {
		return kernels.BF16
	}
	return l.round
}

// effectiveWeight writes the weight twice, as float32 and as the dtype it is
// rounded to; both must be the same numbers.
func effectiveWeight(g *generator, l layer) *trial {
	w, mask, weight := g.weight(l, 2)
	wide, narrow := g.out("W_eff", l.out, l.in), written(g.blank("W_eff stored", l.round, l.out, l.in))
	wide.mask, narrow.mask = mask, mask
	return with(func(s kernels.Stream, x []kernels.Tensor) {
		s.EffectiveWeight(x[0], weight(x))
		s.EffectiveWeight(x[1], weight(x))
	}, append([]*operand{wide, narrow}, w...)...).within(func(t *trial, want [][]float64) [][]float64 {
		b := make([][]float64, len(t.operands))
		if l.rank == 0 {
			return b // one rounding of W: identical bits
		}
		n := len(t.operands)
		m := t.absolute(want, 2, n-2, n-1)
		b[0] = scaled("EffectiveWeight", float64(l.rank+2), m[0])
		if l.round == kernels.BF16 {
			for i := range b[0] {
				b[0][i] += 0x1p-7 * math.Abs(want[0][i])
			}
		}
		b[1] = b[0]
		return b
	})
}

func linearForward(g *generator, l layer) *trial {
	l.round = g.rounding(l)
	w, mask, weight := g.weight(l, 3)
	effective := g.out("W_eff", l.out, l.in)
	effective.mask = mask
	operands := append([]*operand{g.out("y", l.tokens, l.out), effective, g.factor("x", l.tokens, l.in, 1)}, w...)
	named := []int{2}
	if l.bias != "" {
		d := kernels.F32
		if l.bias == "bf16" {
			d = kernels.BF16
		}
		named = append(named, len(operands))
		operands = append(operands, g.normalOf("bias", d, 1, l.out, 1))
	}
	bias := func(x []kernels.Tensor) (b kernels.Tensor) {
		if l.bias != "" {
			b = x[len(x)-1]
		}
		return b
	}
	t := with(func(s kernels.Stream, x []kernels.Tensor) {
		s.EffectiveWeight(x[1], weight(x))
		s.LinearForward(x[0], x[2], weight(x), bias(x))
	}, operands...).within(summed("LinearForward", float64(l.in), []int{0}, named...))
	t.carry = []int{1}
	t.expect = func(s kernels.Stream, x []kernels.Tensor) {
		s.LinearForward(x[0], x[2], kernels.LinearWeight{W: x[1]}, bias(x))
	}
	return t
}

func linearBackwardInput(g *generator, l layer, accumulate bool) *trial {
	l.round = g.rounding(l)
	w, mask, weight := g.weight(l, 3)
	effective, dx := g.out("W_eff", l.out, l.in), g.out("dx", l.tokens, l.in)
	effective.mask = mask
	named := []int{2}
	if accumulate {
		dx = written(g.normal("dx", l.tokens, l.in, 1))
		named = append(named, 0)
	}
	t := with(func(s kernels.Stream, x []kernels.Tensor) {
		s.EffectiveWeight(x[1], weight(x))
		s.LinearBackwardInput(x[0], x[2], weight(x), accumulate)
	}, append([]*operand{dx, effective, g.factor("dy", l.tokens, l.out, 1)}, w...)...).within(summed("LinearBackwardInput", float64(l.out), []int{0}, named...))
	t.carry = []int{1}
	t.expect = func(s kernels.Stream, x []kernels.Tensor) {
		s.LinearBackwardInput(x[0], x[2], kernels.LinearWeight{W: x[1]}, accumulate)
	}
	return t
}

func linearBackwardAdapter(g *generator, l layer) *trial {
	w, _, weight := g.weight(l, 4)
	t := with(func(s kernels.Stream, x []kernels.Tensor) { s.LinearBackwardAdapter(x[0], x[1], x[2], x[3], weight(x)) },
		append([]*operand{g.out("dA", l.rank, l.in), g.out("dB", l.out, l.rank), g.factor("dy", l.tokens, l.out, 1), g.factor("x", l.tokens, l.in, 1)}, w...)...)
	return t.within(func(t *trial, want [][]float64) [][]float64 {
		n := len(t.operands)
		m, b := t.absolute(want, 2, 3, n-2, n-1), make([][]float64, n)
		tokens := math.Sqrt(float64(l.tokens))
		b[0] = scaled("LinearBackwardAdapter", tokens+math.Sqrt(float64(l.out)), m[0])
		b[1] = scaled("LinearBackwardAdapter", tokens+math.Sqrt(float64(l.in)), m[1])
		return b
	})
}

func linearBackwardWeight(g *generator, l layer) *trial {
	mask := g.keep(l.mask, l.out, l.in)
	dw := g.out("dW", l.out, l.in)
	dw.mask = mask
	operands := []*operand{dw, g.factor("dy", l.tokens, l.out, 1), g.factor("x", l.tokens, l.in, 1)}
	if mask != nil {
		operands = append(operands, g.masked("mask", *mask))
	}
	return with(func(s kernels.Stream, x []kernels.Tensor) {
		var bits kernels.Tensor
		if mask != nil {
			bits = x[3]
		}
		s.LinearBackwardWeight(x[0], x[1], x[2], bits)
	}, operands...).within(summed("LinearBackwardWeight", float64(l.tokens), []int{0}, 1, 2))
}
