//go:build cgo && linux

package cuda

import (
	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// The argument structs of weight.cuh and weight.cu.
type (
	weight struct {
		w, starts, mask, a, b view
		out, in               int64
		scale                 float32
		round                 int32
	}
	effectiveWeightArgs struct {
		head
		dst      view
		weight   weight
		row, col int64
	}
)

// weightTile is WEIGHT_TILE of weight.cuh.
const weightTile = 64

// weight returns what kernels see of a layer's weight, which was checked.
func (s *Stream) weight(op string, w kernels.LinearWeight) weight {
	v := weight{
		mask: s.optional(op, "mask", w.Mask), a: s.optional(op, "A", w.A), b: s.optional(op, "B", w.B),
		out: int64(w.Out()), in: int64(w.In()), scale: w.Scale, round: int32(w.Round),
	}
	if w.IsPacked() {
		v.w, v.starts = s.view(op, "packed values", w.Packed.Values), s.view(op, "packed offsets", w.Packed.Offsets)
	} else {
		v.w = s.view(op, "W", w.W)
	}
	return v
}

// plain reports whether products that round to compute can take W itself for the
// effective weight.
func (w weight) plain(compute kernels.DType) bool {
	return w.starts.data == 0 && w.mask.data == 0 && w.a.data == 0 && (!w.rounds() || compute == kernels.BF16)
}

func (w weight) rounds() bool {
	return w.w.dtype == int32(kernels.F32) && w.round == int32(kernels.BF16)
}

// dtype is the smallest that holds the effective weight as exactly as products take
// it that round to compute.
func (w weight) dtype(compute kernels.DType) kernels.DType {
	if compute == kernels.BF16 || w.round == int32(kernels.BF16) || w.w.dtype == int32(kernels.BF16) && w.a.data == 0 {
		return kernels.BF16
	}
	return kernels.F32
}

// effective writes the part of the effective weight that starts at (row, col), which
// are multiples of weightTile, and has dst's shape.
func (s *Stream) effective(dst view, w weight, row, col int64) {
	across, down := ceil(dst.cols, weightTile), ceil(dst.rows, weightTile)
	a := &effectiveWeightArgs{dst: dst, weight: w, row: row, col: col}
	launchWith(s, "effective_weight", driver.Dim{uint32(across), uint32(down), 1}, threads, 0, int(across*down), a)
}

// EffectiveWeight writes W_eff into dst.
func (s *Stream) EffectiveWeight(dst kernels.Tensor, w kernels.LinearWeight) {
	const op = "effective weight"
	s.fail(kernels.CheckEffectiveWeight(dst, w))
	s.effective(s.view(op, "dst", dst), s.weight(op, w), 0, 0)
}
