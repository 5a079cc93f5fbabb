package reference

import (
	"math"

	"ressa/kernels"
)

// heads is one call of attention in host memory. Sequence b has keys[b] valid
// keys; D = HeadDim.
type heads struct {
	kernels.AttentionArgs
	q, k, v, o, lse matrix[float32]
	keys            []int
}

func newHeads(a kernels.AttentionArgs) (heads, error) {
	h := heads{AttentionArgs: a, q: floats(a.Q), k: floats(a.K), v: floats(a.V), o: floats(a.O), lse: floats(a.LogSumExp)}
	h.keys = make([]int, a.Batch)
	for b := range h.keys {
		h.keys[b] = a.KeyLen
		if !a.Lengths.IsZero() {
			n := view[int32](a.Lengths).row(0)[b]
			if err := checkRange("attention", "lengths", b, n, 0, a.KeyLen); err != nil {
				return h, err
			}
			h.keys[b] = int(n)
		}
	}
	return h, nil
}

// visible returns how many keys query i of sequence b sees: the first ones.
func (h heads) visible(b, i int) int {
	n := h.keys[b]
	if h.Causal {
		return max(0, min(n, i+n-h.QueryLen+1))
	}
	return n
}

// query returns head g's part of query row i of sequence b in m (Q, O or a
// gradient of theirs); key the part of key j that head g reads.
func (h heads) query(m matrix[float32], b, g, i int) []float32 {
	return m.row(b*h.QueryLen + i)[g*h.HeadDim:][:h.HeadDim]
}

func (h heads) key(m matrix[float32], b, g, j int) []float32 {
	return m.row(b*h.Pitch() + j)[g/(h.Heads/h.KVHeads)*h.HeadDim:][:h.HeadDim]
}

// scores writes Scale·q·k_j for the first len(s) keys.
func (h heads) scores(s []float64, b, g, i int) {
	q := h.query(h.q, b, g, i)
	for j := range s {
		s[j] = float64(h.Scale) * dot(q, h.key(h.k, b, g, j))
	}
}

func (s *stream) AttentionForward(a kernels.AttentionArgs) {
	if !s.begin(a.Check(), a.Q, a.K, a.V, a.O, a.LogSumExp, a.Lengths) {
		return
	}
	h, err := newHeads(a)
	if err != nil {
		s.fail(err)
		return
	}
	score, out := make([]float64, a.KeyLen), make([]float64, a.HeadDim)
	for b := range a.Batch {
		for g := range a.Heads {
			for i := range a.QueryLen {
				p := score[:h.visible(b, i)]
				h.scores(p, b, g, i)
				lse := logSumExp(p)
				clear(out)
				for j, e := range p {
					w := math.Exp(e - lse)
					for d, v := range h.key(h.v, b, g, j) {
						out[d] += w * float64(v)
					}
				}
				narrow(h.query(h.o, b, g, i), out)
				h.lse.row(b*a.Heads + g)[i] = float32(lse)
			}
		}
	}
}

// logSumExp returns log Σ exp(x), −Inf for no x.
func logSumExp(x []float64) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, v)
	}
	if math.IsInf(top, -1) {
		return top
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

// AttentionBackward follows FlashAttention (Dao et al., arXiv 2205.14135, §3.1):
// with p = exp(s − lse), dp = dO·v and δ = dO·O, ds = p·(dp − δ).
func (s *stream) AttentionBackward(a kernels.AttentionArgs, grads kernels.AttentionGrads) {
	err := a.Check()
	if err == nil {
		err = grads.Check(a)
	}
	if !s.begin(err, a.Q, a.K, a.V, a.O, a.LogSumExp, a.Lengths, grads.DO, grads.DQ, grads.DK, grads.DV) {
		return
	}
	h, err := newHeads(a)
	if err != nil {
		s.fail(err)
		return
	}
	do, dq := floats(grads.DO), floats(grads.DQ)
	score, sumQ := make([]float64, a.KeyLen), make([]float64, a.HeadDim)
	sumK, sumV := newMatrix[float64](a.K.Rows, a.K.Cols), newMatrix[float64](a.K.Rows, a.K.Cols)
	for b := range a.Batch {
		for g := range a.Heads {
			at := g / (a.Heads / a.KVHeads) * a.HeadDim
			for i := range a.QueryLen {
				p := score[:h.visible(b, i)]
				h.scores(p, b, g, i)
				lse := float64(h.lse.row(b*a.Heads + g)[i])
				q, doi := h.query(h.q, b, g, i), h.query(do, b, g, i)
				delta := dot(doi, h.query(h.o, b, g, i))
				clear(sumQ)
				for j, e := range p {
					w := math.Exp(e - lse)
					ds := float64(a.Scale) * w * (dot(doi, h.key(h.v, b, g, j)) - delta)
					kj := h.key(h.k, b, g, j)
					dk, dv := sumK.row(b*a.Pitch() + j)[at:], sumV.row(b*a.Pitch() + j)[at:]
					for d := range q {
						sumQ[d] += ds * float64(kj[d])
						dk[d] += ds * float64(q[d])
						dv[d] += w * float64(doi[d])
					}
				}
				narrow(h.query(dq, b, g, i), sumQ)
			}
		}
	}
	for j := range a.K.Rows {
		narrow(floats(grads.DK).row(j), sumK.row(j))
		narrow(floats(grads.DV).row(j), sumV.row(j))
	}
}
