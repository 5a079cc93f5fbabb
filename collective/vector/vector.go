package vector

import (
	"math/bits"
	"unsafe"

	"ressa/kernels"
)

// Bytes views float32 as bytes.
func Bytes(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// Halves views the beginning of a buffer as n bfloat16.
func Halves(b []float32, n int) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// Wire views the beginning of a buffer as the bytes of n elements of d.
func Wire(b []float32, d kernels.DType, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), d.Size()*n)
}

// Add writes a + b to dst.
func Add(dst, a, b []float32) {
	n := addWide(dst, a[:len(dst)], b[:len(dst)])
	dst, a, b = dst[n:], a[n:len(dst)], b[n:len(dst)]
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

// AddRounded writes round(a) + round(b) to dst, rounding to bfloat16.
func AddRounded(dst, a, b []float32) {
	n := addRoundedWide(dst, a[:len(dst)], b[:len(dst)])
	dst, a, b = dst[n:], a[n:len(dst)], b[n:len(dst)]
	for i := range dst {
		dst[i] = kernels.FromBF16(kernels.ToBF16(a[i])) + kernels.FromBF16(kernels.ToBF16(b[i]))
	}
}

// ToBF16 rounds src to dst, front to back: dst may begin where src does.
func ToBF16(dst []uint16, src []float32) {
	n := toBF16Wide(dst, src[:len(dst)])
	dst, src = dst[n:], src[n:len(dst)]
	for i := range dst {
		dst[i] = kernels.ToBF16(src[i])
	}
}

// FromBF16 widens src to dst, which are apart.
func FromBF16(dst []float32, src []uint16) {
	n := fromBF16Wide(dst, src[:len(dst)])
	dst, src = dst[n:], src[n:len(dst)]
	for i := range dst {
		dst[i] = kernels.FromBF16(src[i])
	}
}

// Pack writes the elements of src that the words keep to dst.
func Pack(dst, src []float32, words []uint64) {
	done, n := packWide(dst, src, words)
	for i, w := range words[done:] {
		for ; w != 0; w &= w - 1 {
			dst[n] = src[64*(done+i)+bits.TrailingZeros64(w)]
			n++
		}
	}
}

// Unpack writes src to the elements of dst that the words keep, and +0 to the
// others.
func Unpack(dst, src []float32, words []uint64) {
	done, n := unpackWide(dst, src, words)
	clear(dst[64*done:])
	for i, w := range words[done:] {
		for ; w != 0; w &= w - 1 {
			dst[64*(done+i)+bits.TrailingZeros64(w)] = src[n]
			n++
		}
	}
}
