package reference_test

import (
	"math"
	"testing"

	"ressa/kernels"
)

func softmax(z []float64, t float64) []float64 {
	p, sum := make([]float64, len(z)), 0.0
	for i, v := range z {
		p[i] = math.Exp(v / t)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

func TestCrossEntropyKLGradient(t *testing.T) {
	const rows, vocabulary, temperature, ceScale, klScale = 4, 7, 2.5, 0.5, 1.5
	for teachers := range 3 {
		l := newLab(t)
		z, labels, weights := l.random(rows*vocabulary, 2), []int32{3, -1, 0, 6}, []float64{1, 0.25}
		var logits [][]float64
		a := kernels.CrossEntropyKLArgs{Logits: l.put(rows, vocabulary, z), Labels: l.integers(labels...), Temperature: temperature,
			CEScale: ceScale, KLScale: klScale, DLogits: l.empty(kernels.F32, rows, vocabulary), Losses: l.empty(kernels.F32, rows, 2)}
		for k := range teachers {
			logits = append(logits, l.random(rows*vocabulary, 2))
			a.Teachers = append(a.Teachers, kernels.TeacherLogits{Logits: l.put(rows, vocabulary, logits[k]), Weight: float32(weights[k])})
		}
		losses := make([]float64, 2*rows)
		loss := func() (sum float64) {
			clear(losses)
			for i := range rows {
				row := z[i*vocabulary : (i+1)*vocabulary]
				if y := labels[i]; y >= 0 {
					losses[2*i] = -math.Log(softmax(row, 1)[y])
				}
				p := softmax(row, temperature)
				for k := range teachers {
					for c, q := range softmax(logits[k][i*vocabulary:(i+1)*vocabulary], temperature) {
						losses[2*i+1] += weights[k] * q * math.Log(q/p[c])
					}
				}
				sum += ceScale*losses[2*i] + klScale*losses[2*i+1]
			}
			return sum
		}
		loss()
		l.s.CrossEntropyKL(a)
		l.near("losses", a.Losses, losses, rounded)
		want := gradient(loss, z)
		l.near("dlogits", a.DLogits, want, differed)
		a.DLogits = a.Logits
		l.s.CrossEntropyKL(a)
		l.near("dlogits in place", a.Logits, want, differed)
	}
}

// A teacher that equals the student gives no divergence and no gradient.
func TestKLOfEquals(t *testing.T) {
	l := newLab(t)
	z := l.random(20, 1000)
	x := l.put(2, 10, z)
	a := kernels.CrossEntropyKLArgs{Logits: x, Labels: l.integers(-1, -1), Temperature: 2, CEScale: 1, KLScale: 1,
		DLogits: l.empty(kernels.F32, 2, 10), Losses: l.empty(kernels.F32, 2, 2), Teachers: []kernels.TeacherLogits{{Logits: l.put(2, 10, z), Weight: 1}}}
	l.s.CrossEntropyKL(a)
	l.near("losses", a.Losses, make([]float64, 4), 0)
	l.near("dlogits", a.DLogits, make([]float64, 20), 0)
}
