package vector

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"ressa/kernels"
)

// randomWords returns a mask over n positions and how many it keeps.
func randomWords(r *rand.Rand, n int) (words []uint64, kept int) {
	words = make([]uint64, (n+63)/64)
	for i := range words {
		switch r.IntN(4) {
		case 0: // nothing
		case 1:
			words[i] = ^uint64(0)
		default:
			words[i] = r.Uint64() & r.Uint64()
		}
	}
	if n%64 != 0 {
		words[len(words)-1] &= 1<<(n%64) - 1
	}
	for _, w := range words {
		kept += bits.OnesCount64(w)
	}
	return words, kept
}

func TestArithmetic(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	special := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
		math.Float32frombits(0x7f800001), math.Float32frombits(0xffffffff), math.MaxFloat32, math.SmallestNonzeroFloat32, math.Float32frombits(0x3f808000), math.Float32frombits(0x3f818000)}
	for n := range 400 {
		a, b := make([]float32, n), make([]float32, n)
		for i := range a {
			a[i], b[i] = math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32())
			if r.IntN(3) == 0 {
				a[i] = special[r.IntN(len(special))]
			}
		}
		sum, rounded, back := make([]float32, n), make([]float32, n), make([]float32, n)
		narrow, inPlace := make([]uint16, n), slices.Clone(a)
		Add(sum, a, b)
		AddRounded(rounded, a, b)
		ToBF16(narrow, a)
		FromBF16(back, narrow)
		ToBF16(Halves(inPlace, n), inPlace)
		words, kept := randomWords(r, n)
		packed, spread := make([]float32, kept), make([]float32, n)
		for i := range spread {
			spread[i] = 77
		}
		Pack(packed, a, words)
		Unpack(spread, packed, words)
		for i := range a {
			x := kernels.RoundTo(kernels.BF16, a[i])
			if !same(sum[i], a[i]+b[i]) || !same(rounded[i], x+kernels.RoundTo(kernels.BF16, b[i])) || math.Float32bits(back[i]) != math.Float32bits(x) || Halves(inPlace, n)[i] != narrow[i] {
				t.Fatalf("%d of %d: %v and %v", i, n, a[i], b[i])
			}
			want := float32(0)
			if words[i/64]>>(i%64)&1 == 1 {
				want = a[i]
			}
			if math.Float32bits(spread[i]) != math.Float32bits(want) {
				t.Fatalf("%d of %d: %v came back as %v", i, n, want, spread[i])
			}
		}
	}
}

// same compares sums; which of two NaNs a sum carries on is the processor's choice.
func same(x, y float32) bool {
	return math.Float32bits(x) == math.Float32bits(y) || x != x && y != y
}
