package random

import (
	"math"
	"testing"
)

// The vectors are those of Random123's tests/kat_vectors for philox4x32 10.
func TestPhiloxKnownAnswers(t *testing.T) {
	cases := []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{
			[4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, [2]uint32{0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	}
	for _, c := range cases {
		if got := Philox(c.counter, c.key); got != c.want {
			t.Errorf("Philox(%x, %x) = %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

func TestStreamIsFourNumbersABlock(t *testing.T) {
	s := New(0x0123456789abcdef, 3, 4, 5)
	for block := range uint32(3) {
		want := Philox([4]uint32{block, 3, 4, 5}, [2]uint32{0x89abcdef, 0x01234567})
		for i, w := range want {
			if got := s.Uint32(); got != w {
				t.Fatalf("block %d number %d = %x, want %x", block, i, got, w)
			}
		}
	}
}

func TestEachPartOfTheKeyMatters(t *testing.T) {
	seen := map[uint64]string{}
	for name, s := range map[string]Stream{
		"base": New(1, 2, 3, 4), "seed low": New(2, 2, 3, 4), "seed high": New(1|1<<40, 2, 3, 4),
		"step": New(1, 3, 3, 4), "microbatch": New(1, 2, 4, 4), "site": New(1, 2, 3, 5),
	} {
		v := s.Uint64()
		if other, ok := seen[v]; ok {
			t.Errorf("%s and %s draw the same number", name, other)
		}
		seen[v] = name
	}
}

func TestUniformRangesAndMoments(t *testing.T) {
	s := New(7, 0, 0, 0)
	const n = 200000
	sum := 0.0
	for range n {
		f := s.Float32()
		if f < 0 || f >= 1 {
			t.Fatalf("Float32 = %v", f)
		}
		sum += float64(f)
	}
	if mean := sum / n; math.Abs(mean-0.5) > 0.003 {
		t.Errorf("mean of Float32 is %v", mean)
	}
	counts := make([]int, 6)
	for range n {
		counts[s.IntN(6)]++
	}
	for v, c := range counts {
		if math.Abs(float64(c)-n/6.0) > 900 { // 5 standard deviations are 833
			t.Errorf("IntN(6) gave %d %d times of %d", v, c, n)
		}
	}
}

func TestNormalMoments(t *testing.T) {
	s := New(11, 0, 0, 0)
	const n = 200000
	var m1, m2, m4 float64
	for range n {
		x := float64(s.Normal())
		m1 += x
		m2 += x * x
		m4 += x * x * x * x
	}
	if m1, m2, m4 = m1/n, m2/n, m4/n; math.Abs(m1) > 0.01 || math.Abs(m2-1) > 0.02 || math.Abs(m4-3) > 0.15 {
		t.Errorf("moments 1, 2, 4 are %v %v %v, want 0 1 3", m1, m2, m4)
	}
}

func TestLogarithm(t *testing.T) {
	for x := 1e-30; x < 1e30; x *= 1.37 {
		if got, want := logarithm(x), math.Log(x); math.Abs(got-want) > 4e-16*math.Abs(want)+1e-15 {
			t.Errorf("logarithm(%v) = %v, want %v", x, got, want)
		}
	}
	for _, x := range []float64{1, 1 + 1e-12, 1 - 1e-12, math.Sqrt2 / 2, 0.5, 2} {
		if got, want := logarithm(x), math.Log(x); math.Abs(got-want) > 2.5e-16*math.Max(math.Abs(want), 0.5) {
			t.Errorf("logarithm(%v) = %v, want %v", x, got, want)
		}
	}
}

func TestShufflePermutes(t *testing.T) {
	s := New(1, 2, 3, 4)
	p := []int{0, 1, 2, 3, 4, 5, 6, 7}
	s.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
	seen := make([]bool, len(p))
	for _, v := range p {
		seen[v] = true
	}
	for v, ok := range seen {
		if !ok {
			t.Errorf("%d is missing in %v", v, p)
		}
	}
}
