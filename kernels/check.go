package kernels

import "fmt"

// The checks below are what every backend runs on the arguments of an operation
// before it enqueues it, so that all backends refuse the same calls with the same
// words. They look at shapes, dtypes and the bounds of buffers. What lies in
// device memory (row indices, positions, lengths) is checked when the operation
// runs; that operands do not overlap is the caller's duty.

// CheckUpload verifies the arguments of [Transfers.Upload].
func CheckUpload(dst Tensor, src []byte) error {
	return checkTransfer("upload", dst, "dst", len(src))
}

// CheckDownload verifies the arguments of [Transfers.Download].
func CheckDownload(dst []byte, src Tensor) error {
	return checkTransfer("download", src, "src", len(dst))
}

func checkTransfer(op string, t Tensor, name string, host int) error {
	if err := is(t, name, F32, BF16, F64, I32, U64); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if host != t.Bytes() {
		return fmt.Errorf("%s: %d host bytes for %s %v of %d bytes", op, host, name, t, t.Bytes())
	}
	return nil
}

// CheckFill verifies the arguments of [Elementwise.Fill].
func CheckFill(dst Tensor) error {
	return checkAll("fill", is(dst, "dst", F32))
}

// CheckConvert verifies the arguments of [Elementwise.Convert].
func CheckConvert(dst, src Tensor) error {
	if err := checkAll("convert", is(src, "src", F32, BF16, F64, I32, U64),
		shaped(dst, "dst", dst.DType, src.Rows, src.Cols)); err != nil {
		return err
	}
	if dst.DType != src.DType && (dst.DType != F32 && dst.DType != BF16 || src.DType != F32 && src.DType != BF16) {
		return fmt.Errorf("convert: no conversion from %v to %v", src.DType, dst.DType)
	}
	return nil
}

// CheckAdd verifies the arguments of [Elementwise.Add].
func CheckAdd(dst, a, b Tensor) error { return checkAdd("add", dst, a, b) }

// CheckAddRounded verifies the arguments of [Elementwise.AddRounded].
func CheckAddRounded(dst, a, b Tensor, round DType) error {
	if round != F32 && round != BF16 {
		return fmt.Errorf("add rounded: cannot round to %v", round)
	}
	return checkAdd("add rounded", dst, a, b)
}

func checkAdd(op string, dst, a, b Tensor) error {
	return checkAll(op, is(dst, "dst", F32), shaped(a, "a", F32, dst.Rows, dst.Cols), shaped(b, "b", F32, dst.Rows, dst.Cols))
}

// CheckAddRows verifies the arguments of [Elementwise.AddRows].
func CheckAddRows(dst, x, p Tensor) error {
	if err := checkAll("add rows", is(x, "x", F32), shaped(dst, "dst", F32, x.Rows, x.Cols), is(p, "p", F32, BF16)); err != nil {
		return err
	}
	if p.Rows < 1 || p.Cols != x.Cols {
		return fmt.Errorf("add rows: p is (%d, %d), want at least one row of %d", p.Rows, p.Cols, x.Cols)
	}
	return nil
}

// CheckSumRowGroups verifies the arguments of [Elementwise.SumRowGroups].
func CheckSumRowGroups(dst, x Tensor) error {
	if err := checkAll("sum row groups", is(dst, "dst", F32), is(x, "x", F32)); err != nil {
		return err
	}
	if dst.Rows < 1 || dst.Cols != x.Cols {
		return fmt.Errorf("sum row groups: dst is (%d, %d), want at least one row of %d", dst.Rows, dst.Cols, x.Cols)
	}
	return nil
}

// CheckGatherRows verifies the arguments of [Elementwise.GatherRows].
func CheckGatherRows(dst, src, index Tensor) error {
	return checkRows("gather rows", dst, src, is(src, "src", F32, BF16), shaped(index, "index", I32, 1, dst.Rows))
}

// CheckScatterRows verifies the arguments of [Elementwise.ScatterRows].
func CheckScatterRows(dst, src, index Tensor) error {
	return checkRows("scatter rows", dst, src, is(src, "src", F32), shaped(index, "index", I32, 1, src.Rows))
}

// CheckScatterAddRows verifies the arguments of [Elementwise.ScatterAddRows].
func CheckScatterAddRows(dst, src, index Tensor) error {
	return checkRows("scatter-add rows", dst, src, is(src, "src", F32), shaped(index, "index", I32, 1, src.Rows))
}

func checkRows(op string, dst, src Tensor, errs ...error) error {
	if err := checkAll(op, is(dst, "dst", F32)); err != nil {
		return err
	}
	if err := checkAll(op, errs...); err != nil {
		return err
	}
	if dst.Cols != src.Cols {
		return fmt.Errorf("%s: dst has %d columns, src %d", op, dst.Cols, src.Cols)
	}
	return nil
}

// CheckRowIndex verifies one row index read from device memory while an
// operation runs: entry i of the index tensor is v, and rows 0 to n-1 exist.
func CheckRowIndex(op string, i int, v int32, n int) error {
	if v < 0 || int(v) >= n {
		return fmt.Errorf("%s: index[%d] is %d, want 0 to %d", op, i, v, n-1)
	}
	return nil
}

func known(f Activation) error {
	if f > ReLU {
		return fmt.Errorf("unknown activation %d", f)
	}
	return nil
}

// CheckActivate verifies the arguments of [Elementwise.Activate].
func CheckActivate(y, x Tensor, f Activation) error {
	return checkAll("activate", known(f), is(x, "x", F32), shaped(y, "y", F32, x.Rows, x.Cols))
}

// CheckActivateBackward verifies the arguments of [Elementwise.ActivateBackward].
func CheckActivateBackward(dx, dy, x Tensor, f Activation) error {
	return checkAll("activate backward", known(f), is(x, "x", F32),
		shaped(dx, "dx", F32, x.Rows, x.Cols), shaped(dy, "dy", F32, x.Rows, x.Cols))
}

// CheckGate verifies the arguments of [Elementwise.Gate].
func CheckGate(y, gate, up Tensor, f Activation) error {
	return checkAll("gate", known(f), is(gate, "gate", F32),
		shaped(y, "y", F32, gate.Rows, gate.Cols), shaped(up, "up", F32, gate.Rows, gate.Cols))
}

// CheckGateBackward verifies the arguments of [Elementwise.GateBackward].
func CheckGateBackward(dgate, dup, dy, gate, up Tensor, f Activation) error {
	r, c := gate.Rows, gate.Cols
	return checkAll("gate backward", known(f), is(gate, "gate", F32), shaped(dgate, "dgate", F32, r, c),
		shaped(dup, "dup", F32, r, c), shaped(dy, "dy", F32, r, c), shaped(up, "up", F32, r, c))
}

// CheckRotate verifies the arguments of [Elementwise.Rotate].
func CheckRotate(x Tensor, headDim int, cos, sin, positions Tensor) error {
	if headDim < 2 || headDim%2 != 0 || x.Cols%headDim != 0 {
		return fmt.Errorf("rotate: head dimension %d, want an even divisor of %d columns", headDim, x.Cols)
	}
	return checkAll("rotate", is(x, "x", F32), shaped(cos, "cos", F32, cos.Rows, headDim/2),
		shaped(sin, "sin", F32, cos.Rows, headDim/2), shaped(positions, "positions", I32, 1, x.Rows))
}

// CheckArgmaxRows verifies the arguments of [Elementwise.ArgmaxRows].
func CheckArgmaxRows(dst, x Tensor) error {
	if err := checkAll("argmax rows", is(x, "x", F32), shaped(dst, "dst", I32, 1, x.Rows)); err != nil {
		return err
	}
	if x.Cols < 1 {
		return fmt.Errorf("argmax rows: x has no columns")
	}
	return nil
}

// CheckSegmentSumSquares verifies the arguments of [Optimiser.SegmentSumSquares].
func CheckSegmentSumSquares(dst, x Tensor, offsets []int) error {
	if len(offsets) < 1 {
		return fmt.Errorf("segment sum of squares: no offsets")
	}
	if err := checkAll("segment sum of squares", shaped(dst, "dst", F64, 1, len(offsets)-1),
		shaped(x, "x", F32, 1, x.Cols)); err != nil {
		return err
	}
	last := 0
	for k, o := range offsets {
		if o < last || o > x.Cols {
			return fmt.Errorf("segment sum of squares: offsets[%d] is %d, want %d to %d", k, o, last, x.Cols)
		}
		last = o
	}
	return nil
}

// CheckColumnSumSquares verifies the arguments of [Optimiser.ColumnSumSquares].
func CheckColumnSumSquares(dst, x Tensor) error {
	return checkAll("column sum of squares", is(x, "x", F32), shaped(dst, "dst", F64, 1, x.Cols))
}
