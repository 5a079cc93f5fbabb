//go:build cgo && linux

package cuda

import "ressa/kernels"

// The argument structs of elementwise.cu.
type (
	fillArgs struct {
		head
		dst   view
		value float32
		_     int32
	}
	convertArgs struct {
		head
		dst, src view
	}
	moveArgs struct {
		head
		tensor       view
		packed       uint64
		first, count int64
		pack, _      int32
	}
	addArgs struct {
		head
		dst, x, y view
		round, _  int32
	}
	addRowsArgs struct {
		head
		dst, x, p view
	}
	rotateArgs struct {
		head
		x, cos, sin, positions view
		half, inverse          int32
	}
)

// each launches a kernel over the tiles of v.
func each[T any, A argument[T]](s *Stream, name string, v view, a A) {
	launch(s, name, tiles(int(v.rows), int(v.cols)), a)
}

// Fill sets every element of dst.
func (s *Stream) Fill(dst kernels.Tensor, v float32) {
	s.fail(kernels.CheckFill(dst))
	a := &fillArgs{dst: s.view("fill", "dst", dst), value: v}
	flatten(&a.dst)
	each(s, "fill", a.dst, a)
}

// Convert copies src into dst, rounding to nearest even from F32 to BF16.
func (s *Stream) Convert(dst, src kernels.Tensor) {
	s.fail(kernels.CheckConvert(dst, src))
	a := &convertArgs{dst: s.view("convert", "dst", dst), src: s.view("convert", "src", src)}
	flatten(&a.dst, &a.src)
	each(s, "convert", a.dst, a)
}

// Add writes dst = a + b.
func (s *Stream) Add(dst, a, b kernels.Tensor) {
	s.fail(kernels.CheckAdd(dst, a, b))
	s.add("add", dst, a, b, kernels.F32)
}

// AddRounded writes dst = round(a) + round(b).
func (s *Stream) AddRounded(dst, a, b kernels.Tensor, round kernels.DType) {
	s.fail(kernels.CheckAddRounded(dst, a, b, round))
	s.add("add rounded", dst, a, b, round)
}

func (s *Stream) add(op string, dst, x, y kernels.Tensor, round kernels.DType) {
	a := &addArgs{dst: s.view(op, "dst", dst), x: s.view(op, "a", x), y: s.view(op, "b", y), round: int32(round)}
	flatten(&a.dst, &a.x, &a.y)
	each(s, "add", a.dst, a)
}

// AddRows writes dst[i] = x[i] + p[i mod p.Rows].
func (s *Stream) AddRows(dst, x, p kernels.Tensor) {
	s.fail(kernels.CheckAddRows(dst, x, p))
	a := &addRowsArgs{dst: s.view("add rows", "dst", dst), x: s.view("add rows", "x", x), p: s.view("add rows", "p", p)}
	each(s, "add_rows", a.dst, a)
}

// Rotate applies rotary position embedding in place.
func (s *Stream) Rotate(x kernels.Tensor, headDim int, cos, sin, positions kernels.Tensor, inverse bool) {
	const op = "rotate"
	s.fail(kernels.CheckRotate(x, headDim, cos, sin, positions))
	a := &rotateArgs{x: s.view(op, "x", x), cos: s.view(op, "cos", cos), sin: s.view(op, "sin", sin),
		positions: s.view(op, "positions", positions), half: int32(headDim / 2), inverse: flag(inverse)}
	launch(s, "rotate", tiles(x.Rows, x.Cols/2), a)
	s.checked(op, cos.Rows, kernels.CheckRowIndex)
}
