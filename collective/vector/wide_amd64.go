package vector

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// wide says whether the processor works on 16 elements at a time.
var wide = cpu.X86.HasAVX512F && cpu.X86.HasPOPCNT

// lanes is how many elements are worked on at a time.
const lanes = 16

// blocks returns how many of n elements are worked on here: the caller does the rest.
func blocks(n int) int {
	if !wide {
		return 0
	}
	return n / lanes * lanes
}

func addWide(dst, a, b []float32) int {
	n := blocks(len(dst))
	if n > 0 {
		add16(&dst[0], &a[0], &b[0], n)
	}
	return n
}

func addRoundedWide(dst, a, b []float32) int {
	n := blocks(len(dst))
	if n > 0 {
		addRounded16(&dst[0], &a[0], &b[0], n)
	}
	return n
}

func toBF16Wide(dst []uint16, src []float32) int {
	n := blocks(len(dst))
	if n > 0 {
		toBF16x16(&dst[0], &src[0], n)
	}
	return n
}

func fromBF16Wide(dst []float32, src []uint16) int {
	n := blocks(len(dst))
	if n > 0 {
		fromBF16x16(&dst[0], &src[0], n)
	}
	return n
}

// packWide returns how many words it has done and how many elements it has written.
func packWide(dst, src []float32, words []uint64) (done, used int) {
	if !wide {
		return 0, 0
	}
	return pack64(unsafe.SliceData(dst), len(dst), unsafe.SliceData(src), unsafe.SliceData(words), min(len(words), len(src)/64))
}

// unpackWide returns how many words it has done and how many elements it has read.
func unpackWide(dst, src []float32, words []uint64) (done, used int) {
	if !wide {
		return 0, 0
	}
	return unpack64(unsafe.SliceData(dst), unsafe.SliceData(src), len(src), unsafe.SliceData(words), min(len(words), len(dst)/64))
}

// The numbers of elements are multiples of lanes.

//go:noescape
func add16(dst, a, b *float32, n int)

//go:noescape
func addRounded16(dst, a, b *float32, n int)

//go:noescape
func toBF16x16(dst *uint16, src *float32, n int)

//go:noescape
func fromBF16x16(dst *float32, src *uint16, n int)

// pack64 stops before n words where dst, of room elements, has less than 64 left:
// a word writes as many, of which the next overwrites what it did not keep.
//
//go:noescape
func pack64(dst *float32, room int, src *float32, words *uint64, n int) (done, used int)

// unpack64 stops before n words where src, of room elements, has less than 64 left.
//
//go:noescape
func unpack64(dst, src *float32, room int, words *uint64, n int) (done, used int)
