//go:build cgo && linux

package cuda

import (
	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// The argument structs of product.cuh and gemm.cu.
type (
	target struct {
		dst, bias, mask view
		scale           float32
		accumulate      int32
	}
	gemmArgs struct {
		head
		a, b          view
		to            target
		parts         uint64
		depth, length int64
	}
	addPartsArgs struct {
		head
		to    target
		parts uint64
		count int64
	}
)

const (
	side         = 128 // SIDE of product.cuh
	chunk        = 64  // of the depth: what blocks have of it are multiples
	fewTiles     = 128 // with fewer than so many tiles, the depth is divided
	leastOfSplit = 256 // of the depth
	// mostParts is the most scratch of a product that is divided: its splits have no
	// more tiles together than fewTiles.
	mostParts = 4 * fewTiles * side * side
)

// What an operand is in memory, and in how many parts it is multiplied, as in
// product.cuh.
const (
	whole   = iota // float32, three parts
	half           // bfloat16
	rounded        // float32 as one part
)

// productShared is the shared memory of multiply_tile: the stages of each operand, a
// plane for each part.
func productShared(a, b int) int {
	planes, bytes := [...]int{whole: 2 * 3, half: 3, rounded: 2}, 2*side*(32+8)
	if a == whole || b == whole {
		bytes = 2 * side * (16 + 8)
	}
	return (planes[a] + planes[b]) * bytes
}

// taken is what a product makes of an operand.
func (s *Stream) taken(v view) int {
	switch {
	case v.dtype == int32(kernels.BF16):
		return half
	case s.device.options.Compute == kernels.BF16:
		return rounded
	}
	return whole
}

// product is one matrix product, whose depth counts the products of a sum.
type product struct {
	form  kernels.GemmForm
	a, b  view
	to    target
	depth int64
}

// divided returns how many blocks share each sum over a depth, and how much of it
// each one has. Both follow from the shape.
func divided(rows, cols, over int64) (splits, length int64) {
	tiles := ceil(rows, side) * ceil(cols, side)
	splits = max(1, min(fewTiles/max(1, tiles), ceil(over, leastOfSplit)))
	length = max(chunk, ceil(ceil(over, splits), chunk)*chunk)
	return max(1, ceil(over, length)), length
}

// partBytes is the scratch that multiply needs: none where one block adds all.
func (p product) partBytes() int {
	splits, _ := divided(p.to.dst.rows, p.to.dst.cols, p.depth)
	if splits == 1 {
		return 0
	}
	return int(4 * splits * p.to.dst.rows * p.to.dst.cols)
}

// multiply launches a product; scratch has partBytes.
func (s *Stream) multiply(p product, scratch uint64) {
	rows, cols := p.to.dst.rows, p.to.dst.cols
	splits, length := divided(rows, cols, p.depth)
	a := &gemmArgs{a: p.a, b: p.b, to: p.to, depth: p.depth, length: length}
	if splits > 1 {
		a.parts = scratch
	}
	names := [...][3][3]string{
		kernels.NT: {{"gemm_nt_ww", "gemm_nt_wh"}, {"gemm_nt_hw", "gemm_nt_hh", "gemm_nt_hr"}, {half: "gemm_nt_rh", rounded: "gemm_nt_rr"}},
		kernels.NN: {{"gemm_nn_ww", "gemm_nn_wh"}, {"gemm_nn_hw", "gemm_nn_hh", "gemm_nn_hr"}, {half: "gemm_nn_rh", rounded: "gemm_nn_rr"}},
		kernels.TN: {{"gemm_tn_ww", "gemm_tn_wh"}, {"gemm_tn_hw", "gemm_tn_hh", "gemm_tn_hr"}, {half: "gemm_tn_rh", rounded: "gemm_tn_rr"}},
	}
	ta, tb := s.taken(p.a), s.taken(p.b)
	launchTiles(s, names[p.form][ta][tb], rows, cols, splits, productShared(ta, tb), a)
	if splits > 1 {
		s.addParts(p.to, scratch, splits)
	}
}

// launchTiles launches a kernel with a block for each tile of side × side and split.
func launchTiles[T any, A argument[T]](s *Stream, name string, rows, cols, splits int64, shared int, a A) {
	down, across := ceil(rows, side), ceil(cols, side)
	if down*across == 0 {
		return
	}
	launchWith(s, name, driver.Dim{uint32(across), uint32(down), uint32(splits)}, threads, shared, int(down*across*splits), a)
}

// addParts finishes sums whose parts lie one after the other, each in dst's shape.
func (s *Stream) addParts(to target, parts uint64, count int64) {
	if to.bias.data == 0 && to.mask.data == 0 {
		flatten(&to.dst)
	}
	blocks := to.dst.rows * ceil(to.dst.cols, threads)
	launch(s, "add_parts", int(blocks), &addPartsArgs{to: to, parts: parts, count: count})
}

// Gemm writes or accumulates C = op(A)·op(B).
func (s *Stream) Gemm(g kernels.GemmArgs) {
	const op = "gemm"
	_, _, k, err := g.Dims()
	s.fail(err)
	p := product{form: g.Form, a: s.view(op, "A", g.A), b: s.view(op, "B", g.B), depth: int64(k)}
	p.to = target{dst: s.view(op, "C", g.C), scale: 1, accumulate: flag(g.Accumulate)}
	s.product(p)
}

// product launches one that needs no other scratch than its own.
func (s *Stream) product(p product) {
	if s.err != nil {
		return
	}
	var parts uint64
	if n := p.partBytes(); n > 0 {
		parts = s.temporary(n)
	}
	s.multiply(p, parts)
}
