//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"unsafe"

	"ressa/kernels"
)

// Blocking of products over kept weights, in elements. Tiles, pairs of rows within
// slots, and the dense product's chains (see kBlock) decide the bits of a result;
// the rest does not.
const (
	sparseTile    = 64      // columns of a tile, as in a mask word
	sparseSlot    = 64      // rows whose lists share a slot
	sparseEntries = 4 << 20 // elements of S in a block of its rows: about 6 bytes a kept one
	listPadding   = 16      // entries that a list may write past its end
	sparsePart    = 1024    // rows of a task at most: their sums stay in the second-level cache
	sparseLeast   = 256     // rows of a task from which they are not divided to make
	sparseTasks   = 8       // so many tasks
)

// What makes a layer worth computing over its kept weights alone: a rule of shape
// and density, so that no result depends on a measurement. See DESIGN.md.
const (
	sparseDensity  = 0.65 // the greatest share of kept weights
	sparseTokens   = 24   // the least tokens
	sparseFeatures = 32   // the least rows and columns
)

// goesSparse reports whether a layer of these sizes is computed over its kept
// weights. A mask whose ones were not counted is dense.
func goesSparse(w kernels.LinearWeight, rows int) bool {
	out, in := w.Out(), w.In()
	return !w.Mask.IsZero() && w.Kept > 0 && rows >= sparseTokens && min(out, in) >= sparseFeatures &&
		float64(w.Kept) <= sparseDensity*float64(out)*float64(in)
}

// multiplySparse writes or adds y (m, n) = x·Sᵀ, S (n, k) being W_eff, or its
// transpose with twin. The operands in a are checked.
func (s *stream) multiplySparse(a *C.struct_rk_sparse, m, n, k int, twin, accumulate bool, bias unsafe.Pointer) {
	if s.err != nil || m == 0 || n == 0 || k == 0 {
		return
	}
	a.m, a.n, a.k = C.int64_t(m), C.int64_t(n), C.int64_t(k)
	a.twin, a.accumulate, a.bias = boolean(twin), boolean(accumulate), (*C.float)(bias)
	a.kc = C.int64_t(evenBlocks(k, kBlock))
	tiles := (k + sparseTile - 1) / sparseTile
	a.tiles = C.int64_t(tiles)
	block := max(sparseSlot, sparseEntries/k/sparseSlot*sparseSlot)
	tokens := int(s.table.sparse_tokens)
	for lo := 0; lo < n; lo += block {
		nb := min(block, n-lo)
		groups := (nb + sparseSlot - 1) / sparseSlot
		a.n0, a.nb, a.groups = C.int64_t(lo), C.int64_t(nb), C.int64_t(groups)
		s.room(a, tiles, groups)
		s.run(s.table.sparse_pack, tiles*groups, 4*(2*sparseTile*sparseTile+2*tilePadding),
			nb*k*(8+int(a.w.a.rows))/mulAddsPerUnit)
		blocks, part := (m+tokens-1)/tokens, min(nb, sparsePart)
		for part > sparseLeast && blocks*((nb+part-1)/part) < sparseTasks {
			part = roundUp(part/2, sparseSlot)
		}
		a.part = C.int64_t(part)
		s.run(s.table.sparse_multiply, blocks*((nb+part-1)/part), 4*(tokens*(sparseTile+2*part+tilePadding)+2*tilePadding), m*nb*k/mulAddsPerUnit)
	}
}

// room counts what the lists of a block need and makes memory for them.
func (s *stream) room(a *C.struct_rk_sparse, tiles, groups int) {
	most := unsafe.Slice((*C.int64_t)(s.shared(8*tiles)), tiles)
	if s.err != nil {
		return
	}
	a.most = &most[0]
	s.run(s.table.sparse_count, tiles, 0, int(a.nb)*tiles)
	room := 0
	for _, n := range most {
		room = max(room, int(n))
	}
	room = roundUp(room, listPadding) + listPadding
	slots := tiles * groups
	mem := s.shared(slots * (6*room + 3*sparseSlot))
	if s.err != nil {
		return
	}
	a.room = C.int64_t(room)
	a.values = (*C.float)(mem)
	a.offsets = (*C.uint16_t)(unsafe.Add(mem, 4*slots*room))
	a.counts = (*C.uint16_t)(unsafe.Add(mem, 6*slots*room))
}
