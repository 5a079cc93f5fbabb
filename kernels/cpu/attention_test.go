//go:build cgo

package cpu

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"ressa/kernels"
)

// attentionShape is one case; see kernels.AttentionArgs.
type attentionShape struct {
	batch, heads, kvHeads, dim, queries, keys, pitch int
	causal                                           bool
	lengths                                          []int
}

// attentionOperands are the tensors of one call on both backends.
type attentionOperands struct {
	q, o, k, v, lse, lengths, do, dq, dk, dv pair
}

func (c attentionShape) operands(w *twins) attentionOperands {
	rows, keyRows := c.batch*c.queries, c.batch*max(c.pitch, c.keys)
	width, kvWidth := c.heads*c.dim, c.kvHeads*c.dim
	f := func(rows, cols, pad int) pair { return w.tensor(kernels.F32, rows, cols, pad, nil) }
	x := attentionOperands{
		q: f(rows, width, 3), o: f(rows, width, 0), k: f(keyRows, kvWidth, 5), v: f(keyRows, kvWidth, 0),
		lse: f(c.batch*c.heads, c.queries, 1), do: f(rows, width, 2), dq: f(rows, width, 0),
		dk: f(keyRows, kvWidth, 1), dv: f(keyRows, kvWidth, 0),
	}
	if c.lengths != nil {
		x.lengths = w.tensor(kernels.I32, 1, c.batch, 0, func(i int) float64 { return float64(c.lengths[i]) })
	}
	return x
}

func (c attentionShape) args(x attentionOperands, k int) (kernels.AttentionArgs, kernels.AttentionGrads) {
	return kernels.AttentionArgs{
			Batch: c.batch, Heads: c.heads, KVHeads: c.kvHeads, HeadDim: c.dim, QueryLen: c.queries, KeyLen: c.keys, KeyPitch: c.pitch,
			Q: x.q[k], O: x.o[k], K: x.k[k], V: x.v[k], LogSumExp: x.lse[k], Lengths: x.lengths[k], Causal: c.causal,
			Scale: float32(1 / math.Sqrt(float64(c.dim))),
		}, kernels.AttentionGrads{
			DO: x.do[k], DQ: x.dq[k], DK: x.dk[k], DV: x.dv[k],
		}
}

var attentionShapes = []attentionShape{
	{batch: 2, heads: 2, kvHeads: 2, dim: 16, queries: 17, keys: 17},
	{batch: 2, heads: 4, kvHeads: 2, dim: 64, queries: 60, keys: 60, causal: true},
	{batch: 1, heads: 3, kvHeads: 1, dim: 20, queries: 33, keys: 70, pitch: 77, causal: true},
	{batch: 3, heads: 2, kvHeads: 1, dim: 32, queries: 40, keys: 40, causal: true, lengths: []int{40, 7, 0}},
	{batch: 2, heads: 1, kvHeads: 1, dim: 128, queries: 130, keys: 200, lengths: []int{200, 129}},
	{batch: 1, heads: 2, kvHeads: 2, dim: 300, queries: 35, keys: 66, causal: true},
	{batch: 2, heads: 8, kvHeads: 2, dim: 24, queries: 1, keys: 90, pitch: 100, causal: true, lengths: []int{90, 3}},
	{batch: 2, heads: 2, kvHeads: 2, dim: 48, queries: 1, keys: 150, pitch: 160, causal: true, lengths: []int{150, 0}},
	{batch: 1, heads: 2, kvHeads: 1, dim: 7, queries: 3, keys: 5, causal: true},
	{batch: 2, heads: 3, kvHeads: 1, dim: 16, queries: 150, keys: 140, pitch: 210, causal: true, lengths: []int{139, 61}},
	{batch: 1, heads: 2, kvHeads: 1, dim: 8, queries: 200, keys: 300, causal: true},
	{batch: 1, heads: 1, kvHeads: 1, dim: 1, queries: 5, keys: 1, causal: true},
}

func TestAttentionAgreesWithReference(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		for _, c := range attentionShapes {
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				w := newTwins(t, Options{Variant: variant, Threads: 1})
				x := c.operands(w)
				w.run(func(s kernels.Stream, k int) {
					a, g := c.args(x, k)
					s.AttentionForward(a)
					s.AttentionBackward(a, g)
				})
				w.agree("O", x.o, 2e-6)
				w.agree("LogSumExp", x.lse, 2e-6)
				w.agree("dQ", x.dq, 1e-5)
				w.agree("dK", x.dk, 1e-5)
				w.agree("dV", x.dv, 1e-5)
			})
		}
	})
}

// The order of every sum is fixed: the threads that share the tiles of keys do not
// show in the bits, nor, among the variants that fuse products, does the width of vectors.
func TestAttentionGivesTheSameBitsWithAnyThreads(t *testing.T) {
	type key struct {
		shape int
		fused bool
	}
	wanted := map[key][5][]byte{}
	everyVariant(t, func(t *testing.T, variant string) {
		for n, c := range attentionShapes {
			want, known := wanted[key{n, variant != "generic"}]
			for _, threads := range []int{1, 2, 3, 8} {
				w := newTwins(t, Options{Variant: variant, Threads: threads})
				w.devices[0].(*device).parallel = 0
				x := c.operands(w)
				w.run(func(s kernels.Stream, k int) {
					a, g := c.args(x, k)
					s.AttentionForward(a)
					s.AttentionBackward(a, g)
				})
				got := [5][]byte{w.bytes(x.o, 0), w.bytes(x.lse, 0), w.bytes(x.dq, 0), w.bytes(x.dk, 0), w.bytes(x.dv, 0)}
				for i := range got {
					if !known {
						want[i] = got[i]
					} else if !bytes.Equal(got[i], want[i]) {
						t.Errorf("%+v: result %d differs with %d threads", c, i, threads)
					}
				}
				known = true
			}
			wanted[key{n, variant != "generic"}] = want
		}
	})
}

func BenchmarkAttention(b *testing.B) {
	for _, c := range []attentionShape{
		{batch: 128, heads: 4, kvHeads: 4, dim: 16, queries: 17, keys: 17},
		{batch: 64, heads: 4, kvHeads: 4, dim: 16, queries: 60, keys: 60, causal: true},
		{batch: 32, heads: 4, kvHeads: 4, dim: 32, queries: 60, keys: 60, causal: true},
		{batch: 32, heads: 4, kvHeads: 2, dim: 64, queries: 60, keys: 60},
		{batch: 128, heads: 4, kvHeads: 4, dim: 16, queries: 1, keys: 60, causal: true},
		{batch: 1, heads: 9, kvHeads: 3, dim: 64, queries: 1, keys: 1000, causal: true},
		{batch: 1, heads: 2, kvHeads: 2, dim: 128, queries: 2048, keys: 2048, causal: true},
	} {
		pairs := float64(c.batch * c.heads * c.queries * c.keys)
		if c.causal && c.queries > 1 {
			pairs /= 2
		}
		for _, v := range []string{"avx512", "avx2", "generic"} {
			for _, backward := range []bool{false, true} {
				if backward && c.queries == 1 {
					continue
				}
				b.Run(fmt.Sprintf("%dx%dx%dx%dx%d/%s/%v", c.batch, c.heads, c.queries, c.keys, c.dim, v, backward), func(b *testing.B) {
					w := newTwins(b, Options{Variant: v, Threads: 1})
					x := c.operands(w)
					a, g := c.args(x, 0)
					flops := 4 * pairs * float64(c.dim)
					if backward {
						flops *= 2.5
						w.streams[0].AttentionForward(a)
					}
					for b.Loop() {
						if backward {
							w.streams[0].AttentionBackward(a, g)
						} else {
							w.streams[0].AttentionForward(a)
						}
					}
					b.ReportMetric(flops*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
				})
			}
		}
	}
}
