package castagnoli

import "golang.org/x/sys/cpu"

func canFold() bool {
	return cpu.X86.HasAVX512F && cpu.X86.HasAVX512VPCLMULQDQ
}

// fold writes to dst a block with the same remainder as the given number of blocks at
// src, at least one, when state, the inverted checksum so far, is added to their
// beginning.
//
//go:noescape
func fold(dst *[foldSize]byte, src *byte, blocks int, state uint32)
