package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrNotFinite is returned for a tensor that holds a NaN or an infinity.
var ErrNotFinite = errors.New("not a finite number")

// CheckFinite returns an error that names the file and the first element of an
// F32, BF16 or F16 tensor that is a NaN or infinite; tensors of other types have
// none. It reads the data once, eight bytes at a time.
func (t Tensor) CheckFinite() error {
	var exponent, unit uint64 // of all values in a word: all bits, and the lowest
	switch t.DType {
	case F32:
		exponent, unit = 0x7F80_0000_7F80_0000, 0x0080_0000_0080_0000
	case BF16:
		exponent, unit = 0x7F80_7F80_7F80_7F80, 0x0080_0080_0080_0080
	case F16:
		exponent, unit = 0x7C00_7C00_7C00_7C00, 0x0400_0400_0400_0400
	default:
		return nil
	}
	// An exponent of ones, and no other, overflows into the place of the sign when
	// its lowest bit is added.
	const f32Signs, f16Signs = 0x8000_0000_8000_0000, 0x8000_8000_8000_8000
	signs := uint64(f16Signs)
	if t.DType == F32 {
		signs = f32Signs
	}
	rest := t.Data
	for len(rest) >= 8 {
		if (binary.LittleEndian.Uint64(rest)&exponent+unit)&signs != 0 {
			break
		}
		rest = rest[8:]
	}
	size := t.DType.Size()
	for ; len(rest) >= size; rest = rest[size:] {
		var v float32
		switch t.DType {
		case F32:
			v = math.Float32frombits(binary.LittleEndian.Uint32(rest))
		case BF16:
			v = FromBF16(binary.LittleEndian.Uint16(rest))
		case F16:
			v = FromF16(binary.LittleEndian.Uint16(rest))
		}
		if x := float64(v); math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("%s: element %v is %v: %w", t.Path, place((len(t.Data)-len(rest))/size, t.Shape), v, ErrNotFinite)
		}
	}
	return nil
}

// place returns the indices of element i of a row-major tensor.
func place(i int, shape []int) []int {
	at := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		if shape[d] > 0 {
			at[d], i = i%shape[d], i/shape[d]
		}
	}
	return at
}
