package allreduce

import (
	"math/bits"
	"unsafe"

	"ressa/kernels"
)

// bytesOf views float32 as bytes.
func bytesOf(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// halves views the beginning of a buffer as n bfloat16.
func halves(b []float32, n int) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// wireBytes views the beginning of a buffer as the bytes of n elements of d.
func wireBytes(b []float32, d kernels.DType, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), d.Size()*n)
}

// add writes a + b to dst.
func add(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

// addRounded writes round(a) + round(b) to dst, rounding to bfloat16.
func addRounded(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = kernels.FromBF16(kernels.ToBF16(a[i])) + kernels.FromBF16(kernels.ToBF16(b[i]))
	}
}

// toBF16 rounds src to dst, front to back: dst may begin where src does.
func toBF16(dst []uint16, src []float32) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = kernels.ToBF16(src[i])
	}
}

// fromBF16 widens src to dst, which are apart.
func fromBF16(dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = kernels.FromBF16(src[i])
	}
}

// packKept writes the elements of src that the words keep to dst.
func packKept(dst, src []float32, words []uint64) {
	n := 0
	for i, w := range words {
		for ; w != 0; w &= w - 1 {
			dst[n] = src[64*i+bits.TrailingZeros64(w)]
			n++
		}
	}
}

// unpackKept writes src to the elements of dst that the words keep, and +0 to the
// others.
func unpackKept(dst, src []float32, words []uint64) {
	clear(dst)
	n := 0
	for i, w := range words {
		for ; w != 0; w &= w - 1 {
			dst[64*i+bits.TrailingZeros64(w)] = src[n]
			n++
		}
	}
}
