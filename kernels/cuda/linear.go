//go:build cgo && linux

package cuda

import "ressa/kernels"

// foldArgs is struct fold_args of linear.cu.
type foldArgs struct {
	head
	dy, x, mask, a, b view
	da, db            uint64
	length, splits    int64
}

const (
	// panelBytes bounds the part of the effective weight that exists at a time. It
	// can stay in the L2 cache of an A100 or H100 until the product reads it.
	panelBytes = 8 << 20
	// foldBytes bounds the partial gradients of the adapter.
	foldBytes = 16 << 20
	// foldShared is a tile of G and the factors that it is multiplied with.
	foldShared = 4 * side * (side + 1 + 16)
)

// columns and slice return the columns or rows lo to hi-1; an absent tensor stays so.
func (v view) columns(lo, hi int64) view {
	if v.data != 0 {
		v.data += uint64(lo) * uint64(kernels.DType(v.dtype).Size())
		v.cols = hi - lo
	}
	return v
}

func (v view) slice(lo, hi int64) view {
	if v.data != 0 {
		v.data += uint64(lo*v.stride) * uint64(kernels.DType(v.dtype).Size())
		v.rows = hi - lo
	}
	return v
}

// panelled multiplies with the effective weight panel after panel, each at most
// bytes large where one tile's rows or columns allow it.
func (s *Stream) panelled(p product, w weight, bytes int64) {
	compute := s.device.options.Compute
	if w.plain(compute) {
		p.b = w.w
		s.product(p)
		return
	}
	// The panel's width is the product's; its length is the depth. Its rows are
	// aligned, so that they can be copied as they are.
	all, d := p.to.dst.cols, w.dtype(compute)
	length := ceil(p.depth, 8) * 8
	width := max(side, bytes/max(1, length*int64(d.Size()))/side*side)
	if s.err != nil || p.to.dst.rows == 0 {
		return
	}
	part := func(lo int64) product {
		q, hi := p, min(all, lo+width)
		q.to.dst, q.to.bias = p.to.dst.columns(lo, hi), p.to.bias.columns(lo, hi)
		return q
	}
	width = min(width, ceil(all, side)*side)
	panel := ceil(width*length*int64(d.Size()), 256) * 256
	last := max(0, all-1) / width * width
	at := s.temporary(int(panel) + max(part(0).partBytes(), part(last).partBytes()))
	for lo := int64(0); lo < all; lo += width {
		q := part(lo)
		q.b = view{data: at, rows: q.to.dst.cols, cols: p.depth, stride: length, dtype: int32(d)}
		row, col := lo, int64(0)
		if p.form == kernels.NN {
			q.b.rows, q.b.cols, q.b.stride = p.depth, q.to.dst.cols, width
			row, col = 0, lo
		}
		s.effective(q.b, w, row, col)
		s.multiply(q, at+uint64(panel))
	}
}

// LinearForward writes y = x·W_effᵀ + bias.
func (s *Stream) LinearForward(y, x kernels.Tensor, w kernels.LinearWeight, bias kernels.Tensor) {
	s.fail(kernels.CheckLinearForward(y, x, w, bias))
	s.linearForward(y, x, w, bias, panelBytes)
}

func (s *Stream) linearForward(y, x kernels.Tensor, w kernels.LinearWeight, bias kernels.Tensor, panel int64) {
	const op = "linear forward"
	p := product{form: kernels.NT, a: s.view(op, "x", x), depth: int64(x.Cols)}
	p.to = target{dst: s.view(op, "y", y), bias: s.optional(op, "bias", bias), scale: 1}
	v := s.weight(op, w)
	switch {
	case p.few(v, s.device.options.Compute):
		s.fused(p, v)
	case s.sparse(w, v):
		s.sparseForward(op, p, v, panel)
	default:
		s.panelled(p, v, panel)
	}
}

// LinearBackwardInput writes dx = dy·W_eff, or adds it.
func (s *Stream) LinearBackwardInput(dx, dy kernels.Tensor, w kernels.LinearWeight, accumulate bool) {
	s.fail(kernels.CheckLinearBackwardInput(dx, dy, w))
	s.linearBackwardInput(dx, dy, w, accumulate, panelBytes)
}

func (s *Stream) linearBackwardInput(dx, dy kernels.Tensor, w kernels.LinearWeight, accumulate bool, panel int64) {
	const op = "linear backward input"
	p := product{form: kernels.NN, a: s.view(op, "dy", dy), depth: int64(dy.Cols)}
	p.to = target{dst: s.view(op, "dx", dx), scale: 1, accumulate: flag(accumulate)}
	s.panelled(p, s.weight(op, w), panel)
}

// LinearBackwardWeight writes dW = M ⊙ (dyᵀ·x).
func (s *Stream) LinearBackwardWeight(dW, dy, x, mask kernels.Tensor) {
	const op = "linear backward weight"
	s.fail(kernels.CheckLinearBackwardWeight(dW, dy, x, mask))
	p := product{form: kernels.TN, a: s.view(op, "dy", dy), b: s.view(op, "x", x), depth: int64(x.Rows)}
	p.to = target{dst: s.view(op, "dW", dW), mask: s.optional(op, "mask", mask), scale: 1}
	s.product(p)
}

// LinearBackwardAdapter writes dB = G·Aᵀ and dA = Bᵀ·G with G = Scale·M ⊙ (dyᵀ·x).
func (s *Stream) LinearBackwardAdapter(dA, dB, dy, x kernels.Tensor, w kernels.LinearWeight) {
	s.fail(kernels.CheckLinearBackwardAdapter(dA, dB, dy, x, w))
	s.linearBackwardAdapter(dA, dB, dy, x, w, foldBytes)
}

// linearBackwardAdapter goes through the rows of G in panels, whose partial gradients
// take at most about so many bytes. dA is added up panel after panel.
func (s *Stream) linearBackwardAdapter(dA, dB, dy, x kernels.Tensor, w kernels.LinearWeight, bytes int64) {
	const op = "linear backward adapter"
	a := foldArgs{dy: s.view(op, "dy", dy), x: s.view(op, "x", x), mask: s.optional(op, "mask", w.Mask), a: s.view(op, "A", w.A), b: s.view(op, "B", w.B)}
	da := target{dst: s.view(op, "dA", dA), scale: w.Scale}
	db := target{dst: s.view(op, "dB", dB), scale: w.Scale}
	if s.err != nil {
		return
	}
	name := "sddmm_fold"
	if s.device.options.Compute == kernels.BF16 {
		name = "sddmm_fold_rounded"
	}
	out, in, rank := a.dy.cols, a.x.cols, a.a.rows
	across := ceil(in, side)
	a.splits, a.length = divided(out, in, a.x.rows)
	each := 4 * rank * a.splits * (in + across*side) // bytes of a row of tiles
	height := min(max(side, bytes/max(1, each)*side), max(side, ceil(out, side)*side))
	down := height / side
	a.da = s.temporary(int(down * each))
	a.db = a.da + uint64(4*down*a.splits*rank*in)
	for lo := int64(0); lo == 0 || lo < out; lo += height {
		hi := min(out, lo+height)
		f := a
		f.dy, f.mask, f.b = a.dy.columns(lo, hi), a.mask.slice(lo, hi), a.b.slice(lo, hi)
		launchTiles(s, name, hi-lo, in, a.splits, foldShared, &f)
		rows := db
		rows.dst = db.dst.slice(lo, hi)
		s.addParts(rows, a.db, across*a.splits)
		da.accumulate = flag(lo > 0)
		s.addParts(da, a.da, ceil(hi-lo, side)*a.splits)
	}
}
