package kernels_test

import (
	"math"
	"testing"

	"ressa/kernels"
)

// Every bfloat16 is tested: itself, the halfway point to the next one, and the
// float32 numbers on both sides of that.
func TestToBF16(t *testing.T) {
	for i := range 1 << 16 {
		b := uint16(i)
		f := kernels.FromBF16(b)
		if f != f {
			if back := kernels.FromBF16(kernels.ToBF16(f)); back == back {
				t.Fatalf("NaN %04x became %v", b, back)
			}
			continue
		}
		if got := kernels.ToBF16(f); got != b {
			t.Fatalf("%04x became %04x", b, got)
		}
		if math.IsInf(float64(f), 0) {
			continue
		}
		half, next := uint32(b)<<16|0x8000, b+1
		even := b
		if b&1 == 1 {
			even = next
		}
		for bits, want := range map[uint32]uint16{half - 1: b, half: even, half + 1: next} {
			if got := kernels.ToBF16(math.Float32frombits(bits)); got != want {
				t.Fatalf("%08x became %04x, want %04x", bits, got, want)
			}
		}
	}
	if got := kernels.ToBF16(math.Float32frombits(0x7f800001)); got>>7 != 0xff || got&0x7f == 0 {
		t.Errorf("a NaN whose payload is in the lower half became %04x", got)
	}
}
