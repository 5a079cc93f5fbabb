package reference

import (
	"fmt"

	"ressa/kernels"
)

func (s *stream) Fill(dst kernels.Tensor, v float32) {
	if !s.begin(kernels.CheckFill(dst), dst) {
		return
	}
	d := floats(dst)
	for i := range d.rows {
		for j := range d.row(i) {
			d.row(i)[j] = v
		}
	}
}

func (s *stream) Convert(dst, src kernels.Tensor) {
	if !s.begin(kernels.CheckConvert(dst, src), dst, src) {
		return
	}
	for i := range src.Rows {
		switch {
		case dst.DType == src.DType:
			copy(rowBytes(dst, i), rowBytes(src, i))
		case dst.DType == kernels.BF16:
			d, x := view[uint16](dst).row(i), floats(src).row(i)
			for j, v := range x {
				d[j] = kernels.ToBF16(v)
			}
		default:
			widenRow(floats(dst).row(i), view[uint16](src).row(i))
		}
	}
}

func (s *stream) Add(dst, a, b kernels.Tensor) {
	if s.begin(kernels.CheckAdd(dst, a, b), dst, a, b) {
		addRounded(dst, a, b, kernels.F32)
	}
}

func (s *stream) AddRounded(dst, a, b kernels.Tensor, round kernels.DType) {
	if s.begin(kernels.CheckAddRounded(dst, a, b, round), dst, a, b) {
		addRounded(dst, a, b, round)
	}
}

func addRounded(dst, a, b kernels.Tensor, round kernels.DType) {
	d, x, y := floats(dst), floats(a), floats(b)
	for i := range d.rows {
		dr, xr, yr := d.row(i), x.row(i), y.row(i)
		for j := range dr {
			dr[j] = kernels.RoundTo(round, xr[j]) + kernels.RoundTo(round, yr[j])
		}
	}
}

func (s *stream) AddRows(dst, x, p kernels.Tensor) {
	if !s.begin(kernels.CheckAddRows(dst, x, p), dst, x, p) {
		return
	}
	d, a, b := floats(dst), floats(x), widened(p)
	for i := range d.rows {
		dr, ar, br := d.row(i), a.row(i), b.row(i%p.Rows)
		for j := range dr {
			dr[j] = ar[j] + br[j]
		}
	}
}

func (s *stream) SumRowGroups(dst, x kernels.Tensor) {
	if !s.begin(kernels.CheckSumRowGroups(dst, x), dst, x) {
		return
	}
	d, a := floats(dst), floats(x)
	sum := make([]float64, d.cols)
	for g := range d.rows {
		clear(sum)
		for i := g; i < a.rows; i += d.rows {
			for j, v := range a.row(i) {
				sum[j] += float64(v)
			}
		}
		narrow(d.row(g), sum)
	}
}

// narrow rounds float64 sums to float32.
func narrow(dst []float32, src []float64) {
	for j, v := range src {
		dst[j] = float32(v)
	}
}

// indices returns the row indices of t, each within 0 to n-1.
func indices(op string, t kernels.Tensor, n int) ([]int32, error) {
	if t.Cols == 0 {
		return nil, nil
	}
	index := view[int32](t).row(0)
	for i, v := range index {
		if err := kernels.CheckRowIndex(op, i, v, n); err != nil {
			return nil, err
		}
	}
	return index, nil
}

func (s *stream) GatherRows(dst, src, index kernels.Tensor) {
	if !s.begin(kernels.CheckGatherRows(dst, src, index), dst, src, index) {
		return
	}
	index32, err := indices("gather rows", index, src.Rows)
	if err != nil {
		s.fail(err)
		return
	}
	for i, v := range index32 {
		if src.DType == kernels.BF16 {
			widenRow(floats(dst).row(i), view[uint16](src).row(int(v)))
		} else {
			copy(floats(dst).row(i), floats(src).row(int(v)))
		}
	}
}

func (s *stream) ScatterRows(dst, src, index kernels.Tensor) {
	if !s.begin(kernels.CheckScatterRows(dst, src, index), dst, src, index) {
		return
	}
	index32, err := indices("scatter rows", index, dst.Rows)
	if err != nil {
		s.fail(err)
		return
	}
	for i, v := range index32 {
		copy(floats(dst).row(int(v)), floats(src).row(i))
	}
}

// ScatterAddRows adds in float32: the order is part of the contract, so every
// backend gives these bits.
func (s *stream) ScatterAddRows(dst, src, index kernels.Tensor) {
	if !s.begin(kernels.CheckScatterAddRows(dst, src, index), dst, src, index) {
		return
	}
	index32, err := indices("scatter-add rows", index, dst.Rows)
	if err != nil {
		s.fail(err)
		return
	}
	d, x := floats(dst), floats(src)
	for v := range d.rows {
		clear(d.row(v))
	}
	for i, v := range index32 {
		dr := d.row(int(v))
		for j, e := range x.row(i) {
			dr[j] += e
		}
	}
}

func (s *stream) Rotate(x kernels.Tensor, headDim int, cos, sin, positions kernels.Tensor, inverse bool) {
	if !s.begin(kernels.CheckRotate(x, headDim, cos, sin, positions), x, cos, sin, positions) {
		return
	}
	index, err := indices("rotate", positions, cos.Rows)
	if err != nil {
		s.fail(err)
		return
	}
	sign := float32(1)
	if inverse {
		sign = -1
	}
	h := headDim / 2
	for i, p := range index {
		c, sn, row := floats(cos).row(int(p)), floats(sin).row(int(p)), floats(x).row(i)
		for at := 0; at < len(row); at += headDim {
			lo, hi := row[at:at+h], row[at+h:at+headDim]
			for j := range h {
				a, b, cj, sj := lo[j], hi[j], c[j], sign*sn[j]
				lo[j] = float32(a*cj) - float32(b*sj)
				hi[j] = float32(b*cj) + float32(a*sj)
			}
		}
	}
}

func (s *stream) ArgmaxRows(dst, x kernels.Tensor) {
	if !s.begin(kernels.CheckArgmaxRows(dst, x), dst, x) {
		return
	}
	if x.Rows == 0 {
		return
	}
	out := view[int32](dst).row(0)
	for i := range x.Rows {
		row := floats(x).row(i)
		best := 0
		for j, v := range row {
			if v > row[best] {
				best = j
			}
		}
		out[i] = int32(best)
	}
}

// checkRange verifies a length read from device memory.
func checkRange(op, name string, i int, v int32, lo, hi int) error {
	if int(v) < lo || int(v) > hi {
		return fmt.Errorf("%s: %s[%d] is %d, want %d to %d", op, name, i, v, lo, hi)
	}
	return nil
}
