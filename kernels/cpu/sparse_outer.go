//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"unsafe"

	"ressa/kernels"
)

// Blocking of sums over tokens at kept elements. The ranges of tokens, the parts of
// the columns and the blocks of rows depend on the shape alone and are part of what
// decides the bits of a result.
const (
	outerBlockRows   = 256     // rows of a task at most: columns of dy
	outerTile        = 32      // columns of x at a time
	outerRangeTokens = 2048    // tokens of a range at most
	outerTasks       = 8       // tasks of a range from which columns are not divided further
	outerPartCols    = 256     // the least columns of a part
	outerTurned      = 2 << 20 // floats of x that are turned at a time
)

// sparseOuterPlan is how G (out, in) over so many tokens is divided.
type sparseOuterPlan struct {
	down, across, ranges int // blocks of rows, parts of the columns, ranges of tokens
	rows, cols, tokens   int // of each
	together             int // parts of the columns whose x is turned at once
}

func planSparseOuter(tokens, out, in int) sparseOuterPlan {
	p := sparseOuterPlan{rows: evenBlocks(out, outerBlockRows), tokens: evenBlocks(tokens, outerRangeTokens)}
	p.down, p.ranges = (out+p.rows-1)/p.rows, (tokens+p.tokens-1)/p.tokens
	parts := max(1, min((outerTasks+p.down-1)/p.down, in/outerPartCols))
	p.cols = roundUp((in+parts-1)/parts, maskWord)
	if most := max(maskWord, outerTurned/p.tokens/maskWord*maskWord); p.cols > most {
		p.cols = most
	}
	p.across = (in + p.cols - 1) / p.cols
	p.together = max(1, outerTurned/p.tokens/p.cols)
	return p
}

// scratch returns a task's scratch bytes for an adapter of rank r, vectors of so
// many lanes and a list of so many bytes.
func (p sparseOuterPlan) scratch(r, lanes, list int) int {
	rp, entries := roundUp(r, lanes), p.rows*outerTile
	floats := (p.rows+lanes)*roundUp(p.tokens, lanes) + (entries+lanes)*(lanes+1) + 2*(outerTile+p.rows)*rp
	return 4*(floats+tilePadding) + list
}

// adapterSparse writes dB = G·Aᵀ and dA = Bᵀ·G with G = Scale·M ⊙ (dyᵀ·x) at the
// kept elements alone; the arguments are checked.
func (s *stream) adapterSparse(op string, dA, dB, dy, x kernels.Tensor, w kernels.LinearWeight) {
	rows, in, out, r := x.Rows, w.In(), w.Out(), w.A.Rows
	a := arguments[C.struct_rk_sparse_outer](s)
	a.dy = s.mat(op, "dy", dy, rows, out, f32)
	a.x = s.mat(op, "x", x, rows, in, f32)
	lw := s.weight(op, w)
	a.mask, a.lora_a, a.lora_b, a.scale = lw.mask, lw.a, lw.b, lw.scale
	da := s.mat(op, "dA", dA, r, in, f32)
	db := s.mat(op, "dB", dB, out, r, f32)
	if s.err != nil || r == 0 {
		return
	}
	p := planSparseOuter(rows, out, in)
	lanes := int(s.table.lanes)
	padded := roundUp(p.tokens, lanes)
	forB, forA, turned := p.across*out*r, p.down*r*in, padded*roundUp(min(in, p.together*p.cols), outerTile)
	mem := s.shared(4 * (p.ranges*(forB+forA) + turned))
	if s.err != nil {
		return
	}
	at := func(floats int) *C.float { return (*C.float)(unsafe.Add(mem, 4*floats)) }
	a.turned = at(0)
	partB, partA := turned, turned+p.ranges*forB
	a.out, a.in, a.rows, a.cols = C.int64_t(out), C.int64_t(in), C.int64_t(p.rows), C.int64_t(p.cols)
	for n := range p.ranges {
		tokens := min(p.tokens, rows-n*p.tokens)
		a.t0, a.tokens = C.int64_t(n*p.tokens), C.int64_t(tokens)
		a.db, a.da = at(partB+n*forB), at(partA+n*forA)
		for part := 0; part < p.across; part += p.together {
			j0 := part * p.cols
			nj := min(p.together*p.cols, in-j0)
			a.part0, a.j0, a.nj = C.int64_t(part), C.int64_t(j0), C.int64_t(nj)
			s.run(s.table.sparse_turn, (nj+outerTile-1)/outerTile, 0, tokens*nj)
			s.run(s.table.sparse_outer, p.down*((nj+p.cols-1)/p.cols), p.scratch(r, lanes, int(s.table.sparse_kept)), tokens*out*nj/mulAddsPerUnit)
		}
	}
	s.reduce(db, at(partB), p.ranges*p.across, false)
	s.reduce(da, at(partA), p.ranges*p.down, false)
}
