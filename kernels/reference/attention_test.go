package reference_test

import (
	"math"
	"testing"

	"ressa/kernels"
)

// TestAttentionGradients has grouped queries, a causal mask behind a cache, lengths,
// a pitch, and a sequence whose first query sees nothing.
func TestAttentionGradients(t *testing.T) {
	const batch, heads, kv, dim, queries, keys, pitch = 3, 4, 2, 3, 3, 5, 6
	lengths := []int32{5, 3, 2}
	l := newLab(t)
	q, k, v := l.random(batch*queries*heads*dim, 1), l.random(batch*pitch*kv*dim, 1), l.random(batch*pitch*kv*dim, 1)
	do := l.random(len(q), 1)
	scale := float32(0.6)
	o, lse := make([]float64, len(q)), make([]float64, batch*heads*queries)
	forward := func() float64 {
		clear(o)
		for b := range batch {
			for g := range heads {
				for i := range queries {
					row, n := (b*queries+i)*heads*dim+g*dim, int(lengths[b])
					p, sum := make([]float64, max(0, i+n-queries+1)), 0.0
					for j := range p {
						at := (b*pitch+j)*kv*dim + g/2*dim
						p[j] = math.Exp(float64(scale) * product(q[row:row+dim], k[at:at+dim]))
						sum += p[j]
					}
					lse[(b*heads+g)*queries+i] = math.Log(sum)
					for j := range p {
						at := (b*pitch+j)*kv*dim + g/2*dim
						for d := range dim {
							o[row+d] += p[j] / sum * v[at+d]
						}
					}
				}
			}
		}
		return product(do, o)
	}
	shape := func(v []float64, rows int) kernels.Tensor { return l.put(rows, len(v)/rows, v) }
	a := kernels.AttentionArgs{Batch: batch, Heads: heads, KVHeads: kv, HeadDim: dim, QueryLen: queries, KeyLen: keys, KeyPitch: pitch,
		Q: shape(q, batch*queries), O: shape(q, batch*queries), K: shape(k, batch*pitch), V: shape(v, batch*pitch),
		LogSumExp: l.empty(kernels.F32, batch*heads, queries), Lengths: l.integers(lengths...), Causal: true, Scale: scale}
	g := kernels.AttentionGrads{DO: shape(do, batch*queries), DQ: shape(q, batch*queries), DK: shape(k, batch*pitch), DV: shape(v, batch*pitch)}
	l.s.AttentionForward(a)
	l.s.AttentionBackward(a, g)
	forward()
	l.near("O", a.O, o, rounded)
	for i, got := range l.get(a.LogSumExp) {
		if want := lse[i]; got != want && !(math.Abs(got-want) < 1e-6) { // −Inf equals itself
			t.Errorf("LogSumExp[%d] = %v, want %v", i, got, want)
		}
	}
	l.near("dQ", g.DQ, gradient(forward, q), differed)
	l.near("dK", g.DK, gradient(forward, k), differed)
	l.near("dV", g.DV, gradient(forward, v), differed)
}

// TestAttentionOfLargeLogits has scores whose exponentials overflow even float64.
func TestAttentionOfLargeLogits(t *testing.T) {
	l := newLab(t)
	q, k, v := []float64{100}, []float64{10, 9, -20}, []float64{1, 2, 3}
	a := kernels.AttentionArgs{Batch: 1, Heads: 1, KVHeads: 1, HeadDim: 1, QueryLen: 1, KeyLen: 3, Scale: 1,
		Q: l.put(1, 1, q), K: l.put(3, 1, k), V: l.put(3, 1, v), O: l.empty(kernels.F32, 1, 1), LogSumExp: l.empty(kernels.F32, 1, 1)}
	l.s.AttentionForward(a)
	l.near("O", a.O, []float64{1}, 0)
	l.near("LogSumExp", a.LogSumExp, []float64{1000}, 0)
}
