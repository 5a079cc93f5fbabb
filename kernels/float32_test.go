package kernels_test

import (
	stdbytes "bytes"
	"math"
	"slices"
	"testing"

	"ressa/kernels"
)

func TestF32BytesAreLittleEndian(t *testing.T) {
	v := []float32{1, -2.5, float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, float32(math.Inf(1))}
	want := []byte{0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0, 0, 0, 0x80, 1, 0, 0, 0, 0, 0, 0x80, 0x7f}
	raw := kernels.EncodeF32(v)
	if !stdbytes.Equal(raw, want) {
		t.Errorf("% x, want % x", raw, want)
	}
	if got := kernels.DecodeF32(append(raw, 9)); !slices.Equal(got, v) || !math.Signbit(float64(got[2])) {
		t.Errorf("back as %v, want %v", got, v)
	}
	nan := []byte{0x01, 0x02, 0xc0, 0xff}
	if got := kernels.EncodeF32(kernels.DecodeF32(nan)); !stdbytes.Equal(got, nan) {
		t.Errorf("a NaN came back as % x", got)
	}
}
