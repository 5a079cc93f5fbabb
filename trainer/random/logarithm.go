package random

import "math"

func sqrt(x float64) float64 { return math.Sqrt(x) }

// logarithm returns the natural logarithm of a positive, normal x, the same
// bits on every architecture: float64() around a product forbids fusing it into
// the sum that follows.
//
// x = m·2ᵉ with √½ ≤ m < √2; then ln m = 2·atanh(z), z = (m−1)/(m+1), |z| < 0.172,
// by its series up to z²³ (truncation below 1e-19 relative to z).
func logarithm(x float64) float64 {
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	z := (m - 1) / (m + 1)
	square := float64(z * z)
	sum := 0.0
	for k := 23; k >= 1; k -= 2 {
		sum = float64(sum*square) + 1/float64(k)
	}
	return float64(float64(e)*math.Ln2) + float64(2*float64(z*sum))
}
