package kerneltest

import (
	"context"
	"fmt"
	"math"

	"ressa/kernels"
	"ressa/kernels/reference"
)

// attentionCase is an AttentionArgs without tensors.
type attentionCase struct {
	name    string
	args    kernels.AttentionArgs
	lengths []int
	spread  float64 // deviation of queries and keys; 0 means 1
}

func attentionTable() []attentionCase {
	a := func(batch, heads, kv, dim, q, k int) kernels.AttentionArgs {
		return kernels.AttentionArgs{Batch: batch, Heads: heads, KVHeads: kv, HeadDim: dim, QueryLen: q, KeyLen: k, Scale: float32(1 / math.Sqrt(float64(dim)))}
	}
	causal := func(a kernels.AttentionArgs, pitch int) kernels.AttentionArgs {
		a.Causal, a.KeyPitch = true, pitch
		return a
	}
	unscaled := a(1, 2, 2, 32, 20, 33)
	unscaled.Scale = 1
	negative := causal(a(1, 2, 1, 48, 37, 41), 0)
	negative.Scale *= -1
	none := a(1, 1, 1, 24, 18, 5)
	none.Scale = 0
	return []attentionCase{
		{"one", a(1, 1, 1, 1, 1, 1), nil, 0},
		{"one-key", a(2, 2, 1, 16, 3, 1), nil, 0},
		{"one-query", a(2, 2, 2, 64, 1, 65), nil, 0},
		{"dim-3", a(1, 2, 2, 3, 7, 7), nil, 0},
		{"dim-16", a(3, 4, 4, 16, 17, 17), nil, 0},
		{"dim-32", a(2, 3, 3, 32, 63, 64), nil, 0},
		{"dim-64", a(1, 2, 2, 64, 65, 63), nil, 0},
		{"dim-80", a(1, 2, 2, 80, 33, 31), nil, 0},
		{"dim-128", a(1, 2, 2, 128, 40, 70), nil, 0},
		{"dim-200", causal(a(1, 2, 1, 200, 35, 35), 0), nil, 0},
		{"causal", causal(a(2, 2, 2, 32, 65, 65), 0), nil, 0},
		{"causal-130", causal(a(1, 2, 1, 64, 130, 130), 0), nil, 0},
		{"causal-after-cache", causal(a(2, 4, 2, 16, 5, 69), 0), nil, 0},
		{"causal-fewer-keys", causal(a(1, 2, 2, 16, 9, 4), 0), nil, 0}, // the first five queries see nothing
		{"causal-few-keys", causal(a(1, 2, 1, 64, 150, 20), 0), nil, 0},
		{"causal-dim-128", causal(a(1, 2, 1, 128, 150, 150), 0), nil, 0},
		{"grouped", a(2, 6, 2, 32, 17, 30), nil, 0},
		{"grouped-all", a(2, 8, 1, 16, 7, 9), nil, 0},
		{"lengths", a(4, 2, 2, 16, 9, 70), []int{70, 1, 0, 33}, 0},
		{"cache", causal(a(3, 4, 2, 32, 1, 50), 64), []int{50, 7, 1}, 0},
		{"no-valid-key", causal(a(4, 2, 1, 96, 40, 150), 155), []int{0, 150, 33, 1}, 0},
		{"key-tiles", causal(a(1, 4, 2, 32, 140, 300), 0), nil, 0},
		{"query-tiles", a(1, 2, 2, 64, 290, 37), nil, 0},
		{"cache-block", causal(a(3, 2, 2, 64, 6, 66), 80), []int{66, 6, 3}, 0},
		{"few-of-many", a(1, 4, 2, 32, 3, 530), nil, 0}, // where backends may divide the keys
		{"few-of-a-cache", causal(a(3, 4, 1, 80, 5, 770), 800), []int{770, 3, 300}, 0},
		{"few-dim-200", a(1, 2, 1, 200, 4, 70), nil, 0},
		{"few-large-logits", causal(a(1, 2, 2, 128, 16, 600), 0), nil, 6},
		{"large-logits", a(2, 2, 2, 32, 17, 65), nil, 6},
		{"large-logits-causal", causal(a(1, 2, 2, 64, 33, 33), 0), nil, 8},
		{"unscaled", unscaled, nil, 1},
		{"negative-scale", negative, nil, 0},
		{"no-scale", none, nil, 0},
	}
}

func attentionCases() (cases []testCase) {
	for _, c := range attentionTable() {
		cases = append(cases, both("AttentionForward", c.name, func(g *generator) *trial { return attentionForward(g, c) })...)
		cases = append(cases, both("AttentionBackward", c.name, func(g *generator) *trial { return attentionBackward(g, c) })...)
	}
	return cases
}

// inputs returns Q, K, V and, where the case has lengths, those.
func (c attentionCase) inputs(g *generator) []*operand {
	a, spread := c.args, c.spread
	if spread == 0 {
		spread = 1
	}
	q, kv := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
	ops := []*operand{g.factor("Q", a.Batch*a.QueryLen, q, spread), g.factor("K", a.Batch*a.Pitch(), kv, spread), g.factor("V", a.Batch*a.Pitch(), kv, 1)}
	if c.lengths != nil {
		ops = append(ops, g.indices("lengths", a.Batch, func(i int) int { return c.lengths[i] }))
	}
	return ops
}

// bind fills in the tensors: O, LogSumExp, Q, K, V and, where there are, lengths.
func (c attentionCase) bind(x []kernels.Tensor) kernels.AttentionArgs {
	a := c.args
	a.O, a.LogSumExp, a.Q, a.K, a.V = x[0], x[1], x[2], x[3], x[4]
	if c.lengths != nil {
		a.Lengths = x[5]
	}
	return a
}

func attentionForward(g *generator, c attentionCase) *trial {
	a := c.args
	operands := append([]*operand{g.out("O", a.Batch*a.QueryLen, a.Heads*a.HeadDim), g.out("LogSumExp", a.Batch*a.Heads, a.QueryLen)}, c.inputs(g)...)
	return with(func(s kernels.Stream, x []kernels.Tensor) { s.AttentionForward(c.bind(x)) }, operands...).within(func(t *trial, _ [][]float64) [][]float64 {
		const op = "AttentionForward"
		m := c.magnitudes(t, nil)
		b := make([][]float64, len(t.operands))
		b[0], b[1] = allowing(op, g.factors, scaled(op, m.factor, m.o), m.o), scaled(op, 1, m.lse)
		return b
	})
}

func attentionBackward(g *generator, c attentionCase) *trial {
	forward := attentionForward(g, c)
	after, err := forward.execute(context.Background(), reference.Open(), forward.run)
	if err != nil {
		panic(fmt.Sprintf("kerneltest: the reference refuses %s: %v", c.name, err))
	}
	operands := forward.operands
	for i := range 2 { // what the forward pass wrote is an input here
		operands[i].data, operands[i].output = after[i], false
	}
	n := len(operands)
	q, k := operands[2], operands[3]
	operands = append(operands, g.factor("dO", q.rows, q.cols, 1), g.out("dQ", q.rows, q.cols), g.out("dK", k.rows, k.cols), g.out("dV", k.rows, k.cols))
	return with(func(s kernels.Stream, x []kernels.Tensor) {
		s.AttentionBackward(c.bind(x), kernels.AttentionGrads{DO: x[n], DQ: x[n+1], DK: x[n+2], DV: x[n+3]})
	}, operands...).within(func(t *trial, _ [][]float64) [][]float64 {
		const op = "AttentionBackward"
		m, b := c.magnitudes(t, t.operands[n]), make([][]float64, len(t.operands))
		for i, v := range [][]float64{m.dq, m.dk, m.dv} {
			b[n+1+i] = allowing(op, g.factors, scaled(op, m.factor, v), v)
		}
		return b
	})
}

// magnitude is what errors of attention are measured by, see [Tolerances]: factor times
// the sums of absolute terms, but for the log-sum-exp.
type magnitude struct {
	o, lse, dq, dk, dv []float64
	factor             float64
}

// magnitudes computes them; dO is nil in the forward pass.
func (c attentionCase) magnitudes(t *trial, dO *operand) magnitude {
	a := c.args
	q, k, v, o := t.operands[2], t.operands[3], t.operands[4], t.operands[0]
	m := magnitude{
		o: make([]float64, q.rows*q.cols), lse: make([]float64, a.Batch*a.Heads*a.QueryLen),
		dq: make([]float64, q.rows*q.cols), dk: make([]float64, k.rows*k.cols), dv: make([]float64, k.rows*k.cols),
	}
	spread := 0.0 // the greatest Σ|q||k|·scale
	for b := range a.Batch {
		n := a.KeyLen
		if c.lengths != nil {
			n = c.lengths[b]
		}
		for h := range a.Heads {
			qc, kc := h*a.HeadDim, h/(a.Heads/a.KVHeads)*a.HeadDim
			for i := range a.QueryLen {
				qr, visible := b*a.QueryLen+i, n
				if a.Causal {
					visible = max(0, min(n, i+n-a.QueryLen+1))
				}
				p, top, sum := make([]float64, visible), math.Inf(-1), 0.0
				for j := range p {
					size := 0.0
					for d := range a.HeadDim {
						e := float64(a.Scale) * q.value(q.data, qr, qc+d) * k.value(k.data, b*a.Pitch()+j, kc+d)
						p[j] += e
						size += math.Abs(e)
					}
					top, spread = max(top, p[j]), max(spread, size)
				}
				for j := range p {
					p[j] = math.Exp(p[j] - top)
					sum += p[j]
				}
				for j := range p {
					p[j] /= sum
					c.add(&m, t, dO, p[j], [...]int{qr, qc, b*a.Pitch() + j, kc}, o, q, k, v)
				}
			}
		}
	}
	m.factor = math.Sqrt(float64(a.HeadDim)) + math.Sqrt(float64(max(a.KeyLen, a.QueryLen))) + spread
	for i := range m.lse {
		m.lse[i] = math.Sqrt(float64(a.HeadDim)) + spread + math.Log(float64(a.KeyLen)) + 1
	}
	return m
}

// add adds the terms of one query and key with probability p. at is the row and
// first column of the query and of the key.
func (c attentionCase) add(m *magnitude, t *trial, dO *operand, p float64, at [4]int, o, q, k, v *operand) {
	ds := 0.0
	for d := range c.args.HeadDim {
		m.o[at[0]*q.cols+at[1]+d] += p * math.Abs(v.value(v.data, at[2], at[3]+d))
		if dO != nil {
			g := math.Abs(dO.value(dO.data, at[0], at[1]+d))
			ds += math.Abs(float64(c.args.Scale)) * p * g * (math.Abs(v.value(v.data, at[2], at[3]+d)) + math.Abs(o.value(o.data, at[0], at[1]+d)))
			m.dv[at[2]*k.cols+at[3]+d] += p * g
		}
	}
	if dO == nil {
		return
	}
	for d := range c.args.HeadDim {
		m.dq[at[0]*q.cols+at[1]+d] += ds * math.Abs(k.value(k.data, at[2], at[3]+d))
		m.dk[at[2]*k.cols+at[3]+d] += ds * math.Abs(q.value(q.data, at[0], at[1]+d))
	}
}
