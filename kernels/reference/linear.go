package reference

import "ressa/kernels"

// T = tokens, x is (T, in), y is (T, out), W_eff and G are (out, in).

// tile is the number of rows or columns of W_eff or G that exist at a time.
const tile = 64

// weight is a LinearWeight in host memory.
type weight struct {
	w     matrix[float32]
	wBF16 matrix[uint16]
	mask  matrix[uint64]
	a, b  matrix[float32]
	scale float32
	round kernels.DType
	bf16  bool
	bits  bool
	lora  bool
}

func newWeight(w kernels.LinearWeight) weight {
	v := weight{scale: w.Scale, round: w.Round, bf16: w.W.DType == kernels.BF16, bits: !w.Mask.IsZero(), lora: !w.A.IsZero()}
	if v.bits {
		v.mask = view[uint64](w.Mask)
	}
	switch {
	case w.IsPacked():
		v.w = unpacked(w.Packed, v.mask)
	case v.bf16:
		v.wBF16 = view[uint16](w.W)
	default:
		v.w = floats(w.W)
	}
	if v.lora {
		v.a, v.b = floats(w.A), floats(w.B)
	}
	return v
}

// unpacked returns a packed weight with its zeros.
func unpacked(p kernels.PackedWeight, mask matrix[uint64]) matrix[float32] {
	w, values, starts := newMatrix[float32](p.Out, p.In), widened(p.Values).row(0), view[int32](p.Offsets)
	for tr := range starts.rows {
		for tc := range starts.cols {
			n := int(starts.row(tr)[tc])
			for o := tr * tile; o < min(p.Out, (tr+1)*tile); o++ {
				for i := tc * tile; i < min(p.In, (tc+1)*tile); i++ {
					if bit(mask.row(o), i) {
						w.row(o)[i] = values[n]
						n++
					}
				}
			}
		}
	}
	return w
}

// effective writes columns lo to lo+len(dst)-1 of row o of W_eff into dst: every
// product and sum rounded to float32, the rank ascending, one rounding at the end.
func (v weight) effective(dst []float32, o, lo int) {
	hi := lo + len(dst)
	if v.lora {
		clear(dst)
		for k, f := range v.b.row(o) {
			for i, e := range v.a.row(k)[lo:hi] {
				dst[i] += float32(f * e)
			}
		}
	}
	for i := range dst {
		if v.bits && !bit(v.mask.row(o), lo+i) {
			dst[i] = 0
			continue
		}
		var w float32
		if v.bf16 {
			w = kernels.FromBF16(v.wBF16.row(o)[lo+i])
		} else {
			w = v.w.row(o)[lo+i]
		}
		if v.lora {
			w += float32(v.scale * dst[i])
		}
		dst[i] = kernels.RoundTo(v.round, w)
	}
}

func (s *stream) LinearForward(y, x kernels.Tensor, w kernels.LinearWeight, bias kernels.Tensor) {
	if !s.begin(kernels.CheckLinearForward(y, x, w, bias), y, x, w.W, w.Packed.Values, w.Packed.Offsets, w.Mask, w.A, w.B, bias) {
		return
	}
	v, rows := newWeight(w), newMatrix[float32](tile, x.Cols)
	for lo := 0; lo < y.Cols; lo += tile {
		hi := min(lo+tile, y.Cols)
		for o := lo; o < hi; o++ {
			v.effective(rows.row(o-lo), o, 0)
		}
		var b []float32
		if !bias.IsZero() {
			b = widened(bias).row(0)[lo:hi]
		}
		dots(floats(y.SliceCols(lo, hi)), floats(x), rows, b, false)
	}
}

func (s *stream) LinearBackwardInput(dx, dy kernels.Tensor, w kernels.LinearWeight, accumulate bool) {
	if !s.begin(kernels.CheckLinearBackwardInput(dx, dy, w), dx, dy, w.W, w.Packed.Values, w.Packed.Offsets, w.Mask, w.A, w.B) {
		return
	}
	v, g := newWeight(w), floats(dy)
	for lo := 0; lo < dx.Cols; lo += tile {
		hi := min(lo+tile, dx.Cols)
		cols := newMatrix[float32](dy.Cols, hi-lo)
		for o := range cols.rows {
			v.effective(cols.row(o), o, lo)
		}
		combine(floats(dx.SliceCols(lo, hi)), g.data, g.stride, 1, cols, dy.Cols, accumulate)
	}
}

// gradientRow writes row o of M ⊙ (dyᵀ·x) into g.
func gradientRow(g []float64, o int, dy, x matrix[float32], mask matrix[uint64], masked bool) {
	clear(g)
	if x.rows > 0 && len(g) > 0 {
		combineRow(g, dy.data[o:], dy.stride, x, x.rows)
	}
	if masked {
		for i := range g {
			if !bit(mask.row(o), i) {
				g[i] = 0
			}
		}
	}
}

func (s *stream) LinearBackwardAdapter(dA, dB, dy, x kernels.Tensor, w kernels.LinearWeight) {
	if !s.begin(kernels.CheckLinearBackwardAdapter(dA, dB, dy, x, w), dA, dB, dy, x, w.W, w.Packed.Values, w.Packed.Offsets, w.Mask, w.A, w.B) {
		return
	}
	v := newWeight(w)
	g := make([]float64, x.Cols) // one row of G, before Scale
	sumA := newMatrix[float64](dA.Rows, dA.Cols)
	for o := range dy.Cols {
		gradientRow(g, o, floats(dy), floats(x), v.mask, v.bits)
		for k := range dA.Rows {
			sumB, b, row := 0.0, float64(v.b.row(o)[k]), sumA.row(k)
			for i, e := range v.a.row(k) {
				sumB += g[i] * float64(e)
				row[i] += b * g[i]
			}
			floats(dB).row(o)[k] = float32(float64(v.scale) * sumB)
		}
	}
	for k := range dA.Rows {
		for i, e := range sumA.row(k) {
			floats(dA).row(k)[i] = float32(float64(v.scale) * e)
		}
	}
}

func (s *stream) LinearBackwardWeight(dW, dy, x, mask kernels.Tensor) {
	if !s.begin(kernels.CheckLinearBackwardWeight(dW, dy, x, mask), dW, dy, x, mask) {
		return
	}
	var bits matrix[uint64]
	if !mask.IsZero() {
		bits = view[uint64](mask)
	}
	g := make([]float64, x.Cols)
	for o := range dy.Cols {
		gradientRow(g, o, floats(dy), floats(x), bits, !mask.IsZero())
		narrow(floats(dW).row(o), g)
	}
}

func (s *stream) EffectiveWeight(dst kernels.Tensor, w kernels.LinearWeight) {
	if !s.begin(kernels.CheckEffectiveWeight(dst, w), dst, w.W, w.Packed.Values, w.Packed.Offsets, w.Mask, w.A, w.B) {
		return
	}
	v, row := newWeight(w), make([]float32, dst.Cols)
	for o := range dst.Rows {
		v.effective(row, o, 0)
		if dst.DType == kernels.F32 {
			copy(floats(dst).row(o), row)
			continue
		}
		d := view[uint16](dst).row(o)
		for i, e := range row {
			d[i] = kernels.ToBF16(e)
		}
	}
}
