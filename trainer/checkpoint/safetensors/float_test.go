package safetensors

import (
	"math"
	"math/rand/v2"
	"testing"
)

// value16 is the definition of binary16, in float64.
func value16(h uint16) float64 {
	sign, e, f := 1-2*float64(h>>15), int(h>>10&31), float64(h&1023)
	switch {
	case e == 31 && f != 0:
		return math.NaN()
	case e == 31:
		return math.Inf(int(sign))
	case e == 0:
		return sign * f * math.Pow(2, -24)
	}
	return sign * (1 + f/1024) * math.Pow(2, float64(e-15))
}

func TestEveryNarrowValue(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got, want := FromF16(h), value16(h)
		if math.IsNaN(want) {
			if got == got || ToF16(got) != h|0x200 {
				t.Fatalf("F16 %#04x: NaN became %v, %#04x", h, got, ToF16(got))
			}
		} else if float64(got) != want || math.Signbit(float64(got)) != (h>>15 == 1) || ToF16(got) != h {
			t.Fatalf("F16 %#04x is %v, want %v, and back %#04x", h, got, want, ToF16(got))
		}
		b := FromBF16(h)
		if b != b {
			if ToBF16(b) != h|0x40 {
				t.Fatalf("BF16 %#04x: NaN came back as %#04x", h, ToBF16(b))
			}
		} else if ToBF16(b) != h {
			t.Fatalf("BF16 %#04x came back as %#04x", h, ToBF16(b))
		}
	}
}

// checkNearest compares a rounding with its definition for one positive value:
// the nearer neighbour, and the even one of two equally near.
func checkNearest(t *testing.T, name string, v float32, to func(float32) uint16, from func(uint16) float64, inf uint16) {
	t.Helper()
	// down is the greatest finite pattern whose value is at most v.
	lo, hi := uint16(0), inf
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; from(mid) <= float64(v) {
			lo = mid
		} else {
			hi = mid
		}
	}
	down := from(lo)
	// Above the largest finite value the next step decides, as if it existed.
	up := from(hi)
	if hi == inf {
		up = down + (down - from(lo-1))
	}
	want := lo
	if below, above := float64(v)-down, up-float64(v); above < below || above == below && lo&1 == 1 {
		want = hi
	}
	if got := to(v); got != want {
		t.Fatalf("%s(%v = %#08x) = %#04x, want %#04x", name, v, math.Float32bits(v), got, want)
	}
	if got := to(-v); got != want|0x8000 {
		t.Fatalf("%s(%v) = %#04x, want %#04x", name, -v, got, want|0x8000)
	}
}

func TestRoundsToNearestEven(t *testing.T) {
	bf16 := func(h uint16) float64 { return float64(FromBF16(h)) }
	check := func(v float32) {
		checkNearest(t, "ToF16", v, ToF16, value16, 0x7c00)
		checkNearest(t, "ToBF16", v, ToBF16, bf16, 0x7f80)
	}
	// Around every midpoint of two neighbours.
	for h := uint16(0); h < 0x7c00; h += 1 + h%5 {
		mid := float32((value16(h) + value16(h+1)) / 2)
		if h == 0x7bff {
			mid = 65520
		}
		check(mid)
		check(math.Nextafter32(mid, 0))
		check(math.Nextafter32(mid, math.MaxFloat32))
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100_000 {
		if v := math.Float32frombits(rng.Uint32() & 0x7fffffff); v < math.MaxFloat32 {
			check(v)
		}
		check(math.Float32frombits(rng.Uint32N(1<<16)<<16&0x7f7f0000 | 0x8000))
	}
}

func TestFloat32Slices(t *testing.T) {
	src := []float32{1, -2.5, 0, 65504}
	for _, d := range []DType{F32, F16, BF16} {
		b := make([]byte, len(src)*d.Size())
		if err := EncodeFloat32(b, src, d); err != nil {
			t.Fatal(err)
		}
		got, err := Tensor{DType: d, Shape: []int{4}, Data: b}.Float32()
		if err != nil {
			t.Fatal(err)
		}
		want := append([]float32(nil), src...)
		if d == BF16 {
			want[3] = 65536
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%v: %v, want %v", d, got, want)
			}
		}
	}
	if err := DecodeFloat32(make([]float32, 1), make([]byte, 8), F64); err == nil {
		t.Error("F64 was decoded")
	}
	if err := EncodeFloat32(make([]byte, 3), src[:1], F32); err == nil {
		t.Error("three bytes took an F32")
	}
}
