package kernels

import "math"

// ToBF16 returns the bfloat16 nearest to f, ties to even, as its 16 bits.
// Numbers beyond the greatest bfloat16 become infinite; a NaN stays a NaN.
func ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40 // quiet: rounding could turn its payload into infinity
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// FromBF16 returns the number that the 16 bits of a bfloat16 stand for, exactly.
func FromBF16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// RoundTo returns f rounded to d, F32 or BF16, as a float32.
func RoundTo(d DType, f float32) float32 {
	if d == BF16 {
		return FromBF16(ToBF16(f))
	}
	return f
}
