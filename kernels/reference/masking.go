package reference

import (
	"math"
	"math/bits"

	"ressa/kernels"
)

// SelectMask counts for each column of a group those that go before it.
func (s *stream) SelectMask(a kernels.SelectMaskArgs) {
	if !s.begin(a.Check(), a.Mask, a.Bad, a.W, a.Norms) {
		return
	}
	weights, mask, bad := widened(a.W), view[uint64](a.Mask), view[int32](a.Bad)
	scores := make([]float64, a.W.Cols)
	for r := range a.W.Rows {
		for c, w := range weights.row(r) {
			scores[c] = math.Abs(float64(w))
			if !a.Norms.IsZero() {
				scores[c] *= view[float64](a.Norms).row(0)[c]
			}
		}
		words, first := mask.row(r), int32(-1)
		clear(words)
		for lo := 0; lo < len(scores); lo += a.M {
			group := scores[lo : lo+a.M]
			if i := unordered(group); i >= 0 {
				if first < 0 {
					first = int32(lo + i)
				}
				continue
			}
			for i := range group {
				if before(group, i) >= a.M-a.N {
					words[(lo+i)/64] |= 1 << ((lo + i) % 64)
				}
			}
		}
		bad.row(0)[r] = first
	}
}

// unordered returns the first score that has no order, or −1.
func unordered(scores []float64) int {
	for i, s := range scores {
		if !(s >= 0 && s <= math.MaxFloat64) {
			return i
		}
	}
	return -1
}

// before counts the scores that are dropped before score i.
func before(scores []float64, i int) int {
	n := 0
	for j, s := range scores {
		if s < scores[i] || s == scores[i] && j < i {
			n++
		}
	}
	return n
}

func (s *stream) PackKept(dst, src, mask kernels.Tensor) {
	const op = "pack kept"
	if !s.begin(kernels.CheckPackKept(dst, src, mask), dst, src, mask) {
		return
	}
	if err := kernels.CheckKept(op, kept(mask, src.Cols), dst.Cols); err != nil {
		s.fail(err)
		return
	}
	if dst.Cols == 0 {
		return
	}
	packed := floats(dst).row(0)[:0]
	for r := range src.Rows {
		words := view[uint64](mask).row(r)
		for c, v := range floats(src).row(r) {
			if bit(words, c) {
				packed = append(packed, v)
			}
		}
	}
}

func (s *stream) UnpackKept(dst, src, mask kernels.Tensor) {
	const op = "unpack kept"
	if !s.begin(kernels.CheckUnpackKept(dst, src, mask), dst, src, mask) {
		return
	}
	if err := kernels.CheckKept(op, kept(mask, dst.Cols), src.Cols); err != nil {
		s.fail(err)
		return
	}
	var packed []float32
	if src.Cols > 0 {
		packed = floats(src).row(0)
	}
	for r := range dst.Rows {
		row, words := floats(dst).row(r), view[uint64](mask).row(r)
		clear(row)
		for c := range row {
			if bit(words, c) {
				row[c], packed = packed[0], packed[1:]
			}
		}
	}
}

// kept counts the ones of a mask over so many columns.
func kept(mask kernels.Tensor, cols int) int {
	n := 0
	for r := range mask.Rows {
		if cols == 0 {
			break
		}
		words := view[uint64](mask).row(r)
		for _, w := range words[:cols/64] {
			n += bits.OnesCount64(w)
		}
		if rest := cols % 64; rest > 0 {
			n += bits.OnesCount64(words[cols/64] << (64 - rest))
		}
	}
	return n
}
