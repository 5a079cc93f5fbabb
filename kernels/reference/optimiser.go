package reference

import (
	"math"

	"ressa/kernels"
)

// AdamW rounds every product and sum to float32; only the two bias corrections
// are formed in float64 before they are rounded once.
func (s *stream) AdamW(a kernels.AdamWArgs) {
	if !s.begin(a.Check(), a.Param, a.Grad, a.M, a.V, a.Mask) {
		return
	}
	step, root := float32(float64(a.LR)/a.Bias1), float32(math.Sqrt(a.Bias2))
	decay, rest1, rest2 := a.LR*a.WeightDecay, 1-a.Beta1, 1-a.Beta2
	for i := range a.Param.Rows {
		pr, gr, mr, vr := floats(a.Param).row(i), floats(a.Grad).row(i), floats(a.M).row(i), floats(a.V).row(i)
		for j := range pr {
			if !a.Mask.IsZero() && !bit(view[uint64](a.Mask).row(i), j) {
				continue
			}
			g := float32(a.GradScale * gr[j])
			p := pr[j] - float32(decay*pr[j])
			m := float32(a.Beta1*mr[j]) + float32(rest1*g)
			v := float32(a.Beta2*vr[j]) + float32(rest2*float32(g*g))
			den := float32(math.Sqrt(float64(v)))/root + a.Eps
			pr[j], mr[j], vr[j] = p-float32(step*float32(m/den)), m, v
		}
	}
}

func (s *stream) SegmentSumSquares(dst, x kernels.Tensor, offsets []int) {
	if !s.begin(kernels.CheckSegmentSumSquares(dst, x, offsets), dst, x) {
		return
	}
	for k := range dst.Cols {
		sum := 0.0
		if offsets[k] < offsets[k+1] {
			for _, v := range floats(x).row(0)[offsets[k]:offsets[k+1]] {
				sum += float64(v) * float64(v)
			}
		}
		view[float64](dst).row(0)[k] = sum
	}
}

func (s *stream) ColumnSumSquares(dst, x kernels.Tensor) {
	if !s.begin(kernels.CheckColumnSumSquares(dst, x), dst, x) {
		return
	}
	if x.Cols == 0 {
		return
	}
	sum := view[float64](dst).row(0)
	clear(sum)
	for i := range x.Rows {
		for j, v := range floats(x).row(i) {
			sum[j] += float64(v) * float64(v)
		}
	}
}
