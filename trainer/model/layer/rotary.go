package layer

import (
	"math"

	"ressa/kernels"
	"ressa/trainer/model"
)

// Rotary holds the tables of rotary position embedding, F32 (P, D/2) for P
// positions and heads of width D.
type Rotary struct {
	Cos, Sin kernels.Tensor
}

// RotaryTables returns cos and sin of p·theta^(−2j/D) for 0 ≤ p < positions and
// 0 ≤ j < D/2, row-major. Frequencies and angles are rounded to float32 as
// Hugging Face's LLaMA does, so that long positions turn by the same angle.
func RotaryTables(positions, headDim int, theta float64) (cos, sin []float32) {
	half := headDim / 2
	cos, sin = make([]float32, positions*half), make([]float32, positions*half)
	for j := range half {
		exponent := float32(2*j) / float32(headDim)
		frequency := 1 / float32(math.Pow(theta, float64(exponent)))
		for p := range positions {
			angle := float64(float32(p) * frequency)
			cos[p*half+j], sin[p*half+j] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
	return cos, sin
}

func (r *Rotary) rotate(l *model.Lane, x kernels.Tensor, headDim int, positions kernels.Tensor, inverse bool) {
	l.Stream.Rotate(x, headDim, r.Cos, r.Sin, positions, inverse)
}
