//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"unsafe"

	"ressa/kernels"
)

// Blocking of matrix products, in elements. kBlock is part of what decides the
// bits of a result; the others only divide work.
const (
	kBlock      = 256  // of k: a panel of B stays in the first-level cache
	columnBlock = 1024 // of columns: packed B
	columnGroup = 256  // columns of a task where there are few blocks of rows
	fewRows     = 8    // blocks of rows
	rowBlock    = 96   // rows of a task; a multiple of every register tile's rows
	directRows  = 48   // the same where A is not packed
	maskWord    = 64   // columns that one mask word covers
	tilePadding = 64   // floats that packing may write past the end
)

// mulAddsPerUnit converts multiply-adds into the units of stream.run's work.
const mulAddsPerUnit = 8

// Gemm writes or accumulates C = op(A)·op(B).
func (s *stream) Gemm(g kernels.GemmArgs) {
	m, n, k, err := g.Dims()
	if err != nil {
		s.fail(err)
		return
	}
	if g.Form == kernels.TN {
		s.outerProduct("gemm", g.C, g.A, g.B, kernels.Tensor{}, g.Accumulate)
		return
	}
	if k == 0 && !g.Accumulate {
		s.Fill(g.C, 0)
	}
	a := arguments[C.struct_rk_gemm](s)
	a.c = s.mat("gemm", "C", g.C, m, n, f32)
	a.a = s.mat("gemm", "A", g.A, m, k, f32|bf16)
	a.b.w = s.mat("gemm", "B", g.B, -1, -1, f32|bf16)
	a.b_by_n = boolean(g.Form == kernels.NT)
	s.multiply(a, m, n, k, g.Accumulate, nil)
}

// multiply runs a product whose operands are set: for each block of columns and
// of k, B is packed and multiplied with. bias, n floats, is added at the end.
func (s *stream) multiply(a *C.struct_rk_gemm, m, n, k int, accumulate bool, bias unsafe.Pointer) {
	if s.err != nil || m == 0 || n == 0 || k == 0 {
		return
	}
	kc := evenBlocks(k, kBlock)
	nc := min(roundUp(n, maskWord), columnBlock)
	a.panels = (*C.float)(s.shared(4 * (nc*kc + tilePadding)))
	a.m, a.n = C.int64_t(m), C.int64_t(n)
	a.direct = boolean(a.a.dtype == C.RK_F32 && (k <= 2*kBlock || n <= maskWord))
	mc := rowBlock
	if a.direct != 0 {
		mc = directRows
	}
	group := nc
	if m < fewRows*mc {
		group = columnGroup
	}
	a.mc, a.jg = C.int64_t(mc), C.int64_t(group)
	packScratch := 4 * (int(s.table.nr)*maskWord + 16*maskWord + tilePadding)
	cost := 1 + int(a.b.a.rows)
	for j := 0; j < n; j += nc {
		cols := min(nc, n-j)
		a.j0, a.nc = C.int64_t(j), C.int64_t(cols)
		for p := 0; p < k; p += kc {
			depth := min(kc, k-p)
			a.k0, a.kc = C.int64_t(p), C.int64_t(depth)
			packs := (cols + maskWord - 1) / maskWord
			if a.b_by_n != 0 {
				packs = (cols + int(s.table.nr) - 1) / int(s.table.nr)
			}
			s.run(s.table.pack, packs, packScratch, cols*depth*cost/mulAddsPerUnit)
			a.accumulate = boolean(accumulate || p > 0)
			a.bias = nil
			if p+depth == k {
				a.bias = (*C.float)(bias)
			}
			tasks := ((m + mc - 1) / mc) * ((cols + group - 1) / group)
			s.run(s.table.multiply, tasks, 4*(rowBlock*kc+tilePadding), m*cols*depth/mulAddsPerUnit)
		}
	}
}

// evenBlocks divides n into blocks of one size, a multiple of maskWord, at most limit.
func evenBlocks(n, limit int) int {
	blocks := (n + limit - 1) / limit
	return roundUp((n+blocks-1)/blocks, maskWord)
}

func roundUp(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }

func boolean(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}
