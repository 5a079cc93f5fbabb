package random

import "math"

// Site separates the uses of random numbers within one microbatch. Two uses
// with the same seed, step and microbatch need different sites, or they draw the
// same numbers.
type Site uint32

// Stream yields the numbers of one (seed, step, microbatch, site) in order. It is
// a small value; copying it copies the position. The zero Stream is that of all
// zeros. Not safe for concurrent use.
type Stream struct {
	key     [2]uint32
	counter [4]uint32 // index of the next block, then step, microbatch, site
	block   [4]uint32
	left    int
}

// New returns the stream at its start. Of step, the low 32 bits count. A stream
// holds 2³² blocks of four numbers before it repeats.
func New(seed uint64, step, microbatch uint32, site Site) Stream {
	return Stream{
		key:     [2]uint32{uint32(seed), uint32(seed >> 32)},
		counter: [4]uint32{0, step, microbatch, uint32(site)},
	}
}

// Uint32 returns the next number, uniform over all uint32.
func (s *Stream) Uint32() uint32 {
	if s.left == 0 {
		s.block = Philox(s.counter, s.key)
		s.counter[0]++
		s.left = 4
	}
	v := s.block[4-s.left]
	s.left--
	return v
}

// Uint64 returns the next number, uniform over all uint64.
func (s *Stream) Uint64() uint64 {
	hi := uint64(s.Uint32())
	return hi<<32 | uint64(s.Uint32())
}

// Float32 returns the next number, uniform in [0, 1) in steps of 2⁻²⁴.
func (s *Stream) Float32() float32 { return float32(s.Uint32()>>8) * 0x1p-24 }

// Float64 returns the next number, uniform in [0, 1) in steps of 2⁻⁵³.
func (s *Stream) Float64() float64 { return float64(s.Uint64()>>11) * 0x1p-53 }

// IntN returns the next number, uniform in [0, n) without bias (Lemire,
// arXiv 1805.10941). It panics when n is not in [1, 2³¹).
func (s *Stream) IntN(n int) int {
	if n < 1 || n > math.MaxInt32 {
		panic("random: IntN needs 1 ≤ n < 2³¹")
	}
	bound := uint32(n)
	m := uint64(s.Uint32()) * uint64(bound)
	if uint32(m) < bound {
		for least := -bound % bound; uint32(m) < least; {
			m = uint64(s.Uint32()) * uint64(bound)
		}
	}
	return int(m >> 32)
}

// Shuffle permutes n elements uniformly (Fisher-Yates) by calling swap.
func (s *Stream) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, s.IntN(i+1))
	}
}
