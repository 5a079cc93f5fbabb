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
	kBlock      = 256  // of k: a panel of B and one of A stay in the second-level cache
	columnBlock = 2048 // of columns: packed B, twice, stays in the third-level cache
	rowBlock    = 48   // rows of a task; its half too is a multiple of every register tile's rows
	manyRows    = 1024 // rows from which blocks of them are enough tasks
	fewTasks    = 12   // tasks of a phase below which columns are divided as well
	columnGroup = 256  // columns of a task then, at least
	fewPacked   = 12   // rows up to which B is not packed where it lies by k
	fewColumns  = 64   // columns of a task where there are few rows
	maskWord    = 64   // columns that one mask word covers
	tilePadding = 64   // floats that packing may write past the end
)

// mulAddsPerUnit converts multiply-adds into the units of stream.run's work: what takes
// a thread some 40 µs is shared out.
const mulAddsPerUnit = 16

// Gemm writes or accumulates C = op(A)·op(B).
func (s *stream) Gemm(g kernels.GemmArgs) {
	m, n, k, err := g.Dims()
	if err != nil {
		s.fail(err)
		return
	}
	if g.Form == kernels.TN {
		s.weightGradient("gemm", g.C, g.A, g.B, kernels.Tensor{}, g.Accumulate)
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

// multiply runs a product whose operands are set. bias, n floats, is added at the end.
func (s *stream) multiply(a *C.struct_rk_gemm, m, n, k int, accumulate bool, bias unsafe.Pointer) {
	if s.err != nil || m == 0 || n == 0 || k == 0 {
		return
	}
	kc := evenBlocks(k, kBlock)
	a.m, a.n, a.k, a.kc = C.int64_t(m), C.int64_t(n), C.int64_t(k), C.int64_t(kc)
	a.accumulate, a.bias = boolean(accumulate), (*C.float)(bias)
	if m <= C.RK_FEW && s.multiplyFew(a) {
		return
	}
	nc := evenBlocks(n, columnBlock)
	a.direct = boolean(a.a_by_k == 0 && a.a.dtype == C.RK_F32 && (k <= 2*kBlock || n <= maskWord))
	mc := rowBlock
	if m < manyRows {
		mc = rowBlock / 2
	}
	groups := max(1, min(fewTasks/((m+mc-1)/mc), nc/columnGroup))
	group := roundUp((nc+groups-1)/groups, maskWord)
	packs := nc / maskWord
	if a.b_by_n == 0 && m <= fewPacked && stored(&a.b) && a.b.w.dtype == C.RK_F32 {
		packs = 0
	} else if a.b_by_n != 0 {
		packs = (nc + int(s.table.nr) - 1) / int(s.table.nr)
	}
	products := ((m + mc - 1) / mc) * ((nc + group - 1) / group)
	phases := ((n + nc - 1) / nc) * ((k + kc - 1) / kc)
	progress := roundUp(1+products, maskWord/2)
	mem := s.shared(8*progress + 4*(2*nc*kc+tilePadding))
	if s.err != nil {
		return
	}
	a.progress, a.panels = (*C.int64_t)(mem), (*C.float)(unsafe.Add(mem, 8*progress))
	clear(unsafe.Slice((*int64)(mem), progress))
	a.nc, a.mc, a.jg = C.int64_t(nc), C.int64_t(mc), C.int64_t(group)
	a.packs, a.products = C.int64_t(packs), C.int64_t(products)
	scratch := 4 * max(int(s.table.nr)*maskWord+16*maskWord+tilePadding, rowBlock*kc+tilePadding)
	work := n * k * (1 + int(a.b.a.rows)) / mulAddsPerUnit
	s.run(s.table.multiply, phases*(packs+products), scratch, work+m*n*k/mulAddsPerUnit)
}

// stored reports whether W_eff is W as it is stored.
func stored(w *C.struct_rk_weight) bool {
	return w.mask.data == nil && w.a.data == nil && (w.w.dtype == C.RK_BF16 || w.round == C.RK_F32)
}

// multiplyFew runs a product of a few rows, whose operands and sizes are set, without
// packing. It reports whether it can.
func (s *stream) multiplyFew(a *C.struct_rk_gemm) bool {
	if a.b_by_n == 0 || a.a.dtype != C.RK_F32 || !stored(&a.b) {
		return false
	}
	n, elements := int(a.n), int(a.n)*int(a.k)
	a.jg = fewColumns
	s.run(s.table.few_rows, (n+fewColumns-1)/fewColumns, 0, elements*(1+int(a.m))/mulAddsPerUnit)
	return true
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
