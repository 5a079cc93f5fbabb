package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Float32 decodes all elements of an F32, BF16 or F16 tensor; every value of
// the narrow types has an exact float32.
func (t Tensor) Float32() ([]float32, error) {
	dst := make([]float32, t.Len())
	return dst, DecodeFloat32(dst, t.Data, t.DType)
}

// DecodeFloat32 writes the elements of src, little-endian F32, BF16 or F16,
// into dst. The error is one of dtype or length.
func DecodeFloat32(dst []float32, src []byte, d DType) error {
	if err := checkFloat(len(dst), len(src), d); err != nil {
		return err
	}
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = FromBF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = FromF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	}
	return nil
}

// EncodeFloat32 writes src into dst as little-endian F32, BF16 or F16, rounding
// to nearest, ties to even. The error is one of dtype or length.
func EncodeFloat32(dst []byte, src []float32, d DType) error {
	if err := checkFloat(len(src), len(dst), d); err != nil {
		return err
	}
	switch d {
	case F32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case BF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], ToBF16(v))
		}
	case F16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], ToF16(v))
		}
	}
	return nil
}

func checkFloat(elements, bytes int, d DType) error {
	if d != F32 && d != BF16 && d != F16 {
		return fmt.Errorf("found dtype %v, expected F32, BF16 or F16", d)
	}
	if bytes != elements*d.Size() {
		return fmt.Errorf("found %d bytes, expected %d for %d elements of %v", bytes, elements*d.Size(), elements, d)
	}
	return nil
}

// FromBF16 returns the value of a bfloat16 bit pattern.
func FromBF16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// ToBF16 rounds to bfloat16, ties to even. A NaN keeps its sign and the upper
// bits of its payload and becomes quiet.
func ToBF16(v float32) uint16 {
	b := math.Float32bits(v)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// FromF16 returns the value of an IEEE 754 binary16 bit pattern.
func FromF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0x1f: // infinity, NaN
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	case 0: // zero, subnormal: fraction · 2⁻²⁴, exact
		v := float32(fraction) / (1 << 24)
		return math.Float32frombits(sign | math.Float32bits(v))
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// ToF16 rounds to IEEE 754 binary16, ties to even; what is too large becomes
// infinite. A NaN is treated as in [ToBF16].
func ToF16(v float32) uint16 {
	b := math.Float32bits(v)
	sign, magnitude := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case magnitude > 0x7f800000:
		return sign | 0x7e00 | uint16(magnitude>>13&0x3ff)
	case magnitude >= 0x477ff000: // 65520, half way above the largest, and more
		return sign | 0x7c00
	case magnitude >= 0x38800000: // 2⁻¹⁴, the least normal value
		rebased := magnitude - (127-15)<<23
		return sign | uint16((rebased+0xfff+rebased>>13&1)>>13)
	case magnitude <= 0x33000000: // 2⁻²⁵, half the least subnormal: ties to zero
		return sign
	}
	// Subnormal: the significand in units of 2⁻²⁴.
	shift := 126 - magnitude>>23
	significand := magnitude&0x7fffff | 0x800000
	quotient := significand >> shift
	rest, half := significand&(1<<shift-1), uint32(1)<<(shift-1)
	if rest > half || rest == half && quotient&1 == 1 {
		quotient++
	}
	return sign | uint16(quotient)
}
