package bench

import (
	"encoding/binary"
	"math"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// random is Vigna's splitmix64.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// between returns a number from -size to size.
func (r *random) between(size float32) float32 { return float32(int32(r.next())) / (1 << 31) * size }

// below returns a number from 0 to n-1.
func (r *random) below(n int) int { return int(r.next() >> 33 % uint64(n)) }

// Stock makes packed weights of random values, which take long on the host, once for
// each shape and pattern.
type Stock struct{ made map[stockKey]sparse.Packed }

type stockKey struct {
	out, in int
	pattern string
}

func (s *Stock) weight(out, in int, p sparse.Pattern) (sparse.Packed, error) {
	key := stockKey{out, in, p.String()}
	if w, ok := s.made[key]; ok {
		return w, nil
	}
	if err := p.Fits(in); err != nil {
		return sparse.Packed{}, err
	}
	r, size := random(1), float32(1/math.Sqrt(float64(in)))
	values := make([]byte, 2*out*in)
	for i := range out * in {
		binary.LittleEndian.PutUint16(values[2*i:], kernels.ToBF16(r.between(size)))
	}
	w, err := sparse.Pack(p.Random(out, in, r.below), kernels.BF16, values)
	if err != nil {
		return sparse.Packed{}, err
	}
	if s.made == nil {
		s.made = map[stockKey]sparse.Packed{}
	}
	s.made[key] = w
	return w, nil
}
