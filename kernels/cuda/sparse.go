//go:build cgo && linux

package cuda

import (
	"fmt"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// The argument structs of sparse.cu.
type (
	halvedWeightArgs struct {
		head
		values, places uint64
		weight         weight
		row, chunks    int64
	}
	sparseForwardArgs struct {
		head
		x                     view
		values, places        uint64
		to                    target
		parts                 uint64
		depth, length, chunks int64
	}
)

// Bytes that a row of a panel has for each chunk of 32 inputs: 16 values, and their
// places.
const (
	chunkValues = 16 * 2
	chunkPlaces = 4
)

// sparse reports whether products take the effective weight as two values of each
// four inputs. That follows from the layer alone.
func (s *Stream) sparse(w kernels.LinearWeight, v weight) bool {
	return w.TwoOfFour && !w.Mask.IsZero() && v.dtype(s.device.options.Compute) == kernels.BF16
}

// sparseForward is panelled for y = x·W_effᵀ on sparse tensor cores.
func (s *Stream) sparseForward(op string, p product, w weight, bytes int64) {
	if s.err != nil || p.to.dst.rows == 0 {
		return
	}
	chunks := 2 * ceil(p.depth, 64)
	height := max(side, bytes/max(1, chunks*(chunkValues+chunkPlaces))/side*side)
	height = min(height, ceil(w.out, side)*side)
	values, places := height*chunks*chunkValues, height*chunks*chunkPlaces
	// x in one part takes 64 inputs a stage, in three parts 32.
	name, shared := "sparse_forward_w", 2*3*2*side*(32+8)+4*(2*side*(16+8)+4*side)
	if s.taken(p.a) == rounded {
		name, shared = "sparse_forward_r", 2*2*side*(64+8)+4*(2*side*(32+8)+2*4*side)
	}
	part := func(lo int64) product {
		q, hi := p, min(w.out, lo+height)
		q.to.dst, q.to.bias = p.to.dst.columns(lo, hi), p.to.bias.columns(lo, hi)
		return q
	}
	last := max(0, w.out-1) / height * height
	at := s.temporary(int(values+places) + max(part(0).partBytes(), part(last).partBytes()))
	for lo := int64(0); lo < w.out; lo += height {
		q := part(lo)
		across, down := chunks/2, ceil(q.to.dst.cols, side)*2
		half := &halvedWeightArgs{values: at, places: at + uint64(values), weight: w, row: lo, chunks: chunks}
		launchWith(s, "halved_weight", driver.Dim{uint32(across), uint32(down), 1}, threads, 0, int(across*down), half)
		s.checked(op, int(ceil(p.depth, 4)), crowded)
		splits, length := divided(q.to.dst.rows, q.to.dst.cols, p.depth)
		a := &sparseForwardArgs{x: p.a, values: half.values, places: half.places, to: q.to, depth: p.depth, length: length, chunks: chunks}
		scratch := at + uint64(values+places)
		if splits > 1 {
			a.parts = scratch
		}
		launchTiles(s, name, q.to.dst.rows, q.to.dst.cols, splits, shared, a)
		if splits > 1 {
			s.addParts(q.to, scratch, splits)
		}
	}
}

// crowded is the error for a group i of four columns, of which a mask's row has so many,
// that keeps v.
func crowded(op string, i int, v int32, groups int) error {
	row, col := i/groups, i%groups*4
	return fmt.Errorf("%s: mask row %d keeps %d weights in columns %d to %d, want at most 2 of 4", op, row, v, col, col+3)
}
