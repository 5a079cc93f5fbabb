package kernels

import (
	"encoding/binary"
	"math"
)

// EncodeF32 returns v as Stream.Upload takes it for an F32 tensor: little-endian
// binary32, row by row.
func EncodeF32(v []float32) []byte {
	raw := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(x))
	}
	return raw
}

// DecodeF32 returns the numbers that Stream.Download gave for an F32 tensor, bit
// for bit. Bytes behind the last whole number are passed over.
func DecodeF32(raw []byte) []float32 {
	v := make([]float32, len(raw)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return v
}
