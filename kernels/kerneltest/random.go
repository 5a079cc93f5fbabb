package kerneltest

import (
	"hash/fnv"
	"math"
)

// random is SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), started from a name:
// a case has the same numbers with every version of Go.
type random struct{ state uint64 }

func newRandom(name string) *random {
	h := fnv.New64a()
	h.Write([]byte(name))
	return &random{h.Sum64()}
}

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// NormFloat64 returns a normally distributed number (Box & Muller, 1958).
func (r *random) NormFloat64() float64 {
	u := float64(r.next()>>11+1) * 0x1p-53 // in (0, 1]
	v := float64(r.next()>>11) * 0x1p-53
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*v)
}

// IntN returns an integer from 0 to n-1.
func (r *random) IntN(n int) int { return int(r.next() % uint64(n)) }

// Perm returns a permutation of 0 to n-1.
func (r *random) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		j := r.IntN(i + 1)
		p[i], p[j] = p[j], i
	}
	return p
}
