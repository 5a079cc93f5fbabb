package safetensors

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
)

// Every bit pattern of the narrow types, in every place of a word, is judged as
// its float32 is.
func TestCheckFiniteJudgesEveryPattern(t *testing.T) {
	for _, d := range []DType{BF16, F16} {
		for bits := range 1 << 16 {
			h := uint16(bits)
			v := FromBF16(h)
			if d == F16 {
				v = FromF16(h)
			}
			finite := !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0)
			at := bits % 5
			data := make([]byte, 10)
			for i := range 5 {
				binary.LittleEndian.PutUint16(data[2*i:], 0x7BFF) // the largest finite half, large in bfloat16 too
			}
			binary.LittleEndian.PutUint16(data[2*at:], h)
			if err := (Tensor{DType: d, Shape: []int{5}, Data: data}).CheckFinite(); (err == nil) != finite {
				t.Fatalf("%v %04x at %d: %v", d, h, at, err)
			}
		}
	}
}

func TestCheckFiniteNamesTheElement(t *testing.T) {
	inf, nan := float32(math.Inf(-1)), float32(math.NaN())
	for _, c := range []struct {
		at   int
		v    float32
		want string
	}{{0, nan, "element [0 0] is NaN"}, {4, inf, "element [1 1] is -Inf"}, {8, nan, "element [2 2] is NaN"}, {5, math.MaxFloat32, ""}, {3, -math.MaxFloat32, ""}} {
		values := []float32{0, 1, -1, 1e-45, 1e38, -1e38, 2, 3, 4}
		values[c.at] = c.v
		data := make([]byte, 36)
		if err := EncodeFloat32(data, values, F32); err != nil {
			t.Fatal(err)
		}
		err := Tensor{DType: F32, Shape: []int{3, 3}, Path: "a.safetensors", Data: data}.CheckFinite()
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "a.safetensors: "+c.want)) {
			t.Errorf("%v at %d: %v, want %q", c.v, c.at, err, c.want)
		}
	}
	if err := (Tensor{DType: U64, Shape: []int{1}, Data: []byte{255, 255, 255, 255, 255, 255, 255, 255}}).CheckFinite(); err != nil {
		t.Error(err)
	}
}
