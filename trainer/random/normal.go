package random

// Normal returns the next number of the standard normal distribution, by
// Marsaglia's polar method. The second number of a pair is dropped: a stream's
// position then depends on nothing hidden.
//
// math.Log has an assembler version on some architectures, so the logarithm is
// this package's own; math.Sqrt is exact everywhere.
func (s *Stream) Normal() float32 {
	for {
		u := 2*s.Float64() - 1
		v := 2*s.Float64() - 1
		r := float64(u*u) + float64(v*v)
		if r > 0 && r < 1 {
			return float32(u * sqrt(float64(-2*logarithm(r))/r))
		}
	}
}
