package reference

import (
	"math"

	"ressa/kernels"
)

// N = rows, V = vocabulary; everything within a row is float64.

func (s *stream) CrossEntropyKL(a kernels.CrossEntropyKLArgs) {
	operands := []kernels.Tensor{a.Logits, a.Labels, a.DLogits, a.Losses}
	for _, t := range a.Teachers {
		operands = append(operands, t.Logits)
	}
	if !s.begin(a.Check(), operands...) {
		return
	}
	n, v := a.Logits.Rows, a.Logits.Cols
	if n == 0 || v == 0 {
		return
	}
	labels := view[int32](a.Labels).row(0)
	for i, y := range labels {
		if y >= 0 {
			if err := kernels.CheckRowIndex("cross-entropy", i, y, v); err != nil {
				s.fail(err)
				return
			}
		}
	}
	grad := make([]float64, v)
	p, pT := make([]float64, v), make([]float64, v) // log-probabilities at temperature 1 and T
	qT := make([]float64, v)
	for i := range n {
		z, loss := floats(a.Logits).row(i), floats(a.Losses).row(i)
		logSoftmax(p, z, 1)
		logSoftmax(pT, z, float64(a.Temperature))
		clear(grad)
		ce, kl := 0.0, 0.0
		if y := labels[i]; y >= 0 {
			ce = -p[y]
			for c := range grad {
				grad[c] = float64(a.CEScale) * math.Exp(p[c])
			}
			grad[y] -= float64(a.CEScale)
		}
		for _, t := range a.Teachers {
			logSoftmax(qT, floats(t.Logits).row(i), float64(a.Temperature))
			scale := float64(a.KLScale) / float64(a.Temperature) * float64(t.Weight)
			for c, lq := range qT {
				q := math.Exp(lq)
				if q > 0 { // 0·log 0 = 0
					kl += float64(t.Weight) * q * (lq - pT[c])
				}
				grad[c] += scale * (math.Exp(pT[c]) - q)
			}
		}
		loss[0], loss[1] = float32(ce), float32(kl)
		if !a.DLogits.IsZero() {
			narrow(floats(a.DLogits).row(i), grad)
		}
	}
}

// logSoftmax writes log softmax(z/t) into dst.
func logSoftmax(dst []float64, z []float32, t float64) {
	for c, v := range z {
		dst[c] = float64(v) / t
	}
	lse := logSumExp(dst)
	for c := range dst {
		dst[c] -= lse
	}
}
