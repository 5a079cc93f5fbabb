package kernels_test

import (
	"strings"
	"testing"

	"ressa/kernels"
)

// bytes is a buffer of that size without memory: checks look no further.
type bytes int

func (b bytes) Bytes() int { return int(b) }

func of(d kernels.DType, rows, cols int) kernels.Tensor {
	return kernels.NewTensor(bytes(rows*cols*d.Size()), d, rows, cols)
}

func floats(rows, cols int) kernels.Tensor { return of(kernels.F32, rows, cols) }

func TestChecks(t *testing.T) {
	none := kernels.Tensor{}
	x, row, index := floats(4, 6), floats(1, 6), of(kernels.I32, 1, 4)
	w := kernels.LinearWeight{W: floats(3, 6), Mask: of(kernels.U64, 3, 1), A: floats(2, 6), B: floats(3, 2)}
	short := x
	short.Buffer = bytes(95)
	for _, c := range []struct {
		name string
		err  error
		want string // "" for no error
	}{
		{"upload", kernels.CheckUpload(x, make([]byte, 96)), ""},
		{"upload short", kernels.CheckUpload(x, make([]byte, 95)), "upload: 95 host bytes for dst fp32 (4, 6) stride 6 of 96 bytes"},
		{"fill", kernels.CheckFill(x), ""},
		{"fill short", kernels.CheckFill(short), "fill: dst ends at byte 96 of a buffer of 95"},
		{"fill absent", kernels.CheckFill(none), "fill: dst is absent"},
		{"convert", kernels.CheckConvert(of(kernels.BF16, 4, 6), x), ""},
		{"convert integers", kernels.CheckConvert(of(kernels.I32, 4, 6), x), "no conversion from fp32 to int32"},
		{"copy integers", kernels.CheckConvert(index, index), ""},
		{"add", kernels.CheckAdd(x, x, row), "add: b is (1, 6), want (4, 6)"},
		{"add rounded", kernels.CheckAddRounded(x, x, x, kernels.F64), "cannot round to fp64"},
		{"add rows", kernels.CheckAddRows(x, x, of(kernels.BF16, 1, 6)), ""},
		{"add no rows", kernels.CheckAddRows(x, x, floats(0, 6)), "want at least one row of 6"},
		{"sum row groups", kernels.CheckSumRowGroups(row, floats(4, 5)), "want at least one row of 5"},
		{"gather", kernels.CheckGatherRows(x, floats(9, 6), index), ""},
		{"gather index", kernels.CheckGatherRows(x, floats(9, 6), of(kernels.I32, 1, 3)), "index is (1, 3), want (1, 4)"},
		{"scatter bf16", kernels.CheckScatterRows(x, of(kernels.BF16, 4, 6), index), "src is bf16"},
		{"scatter columns", kernels.CheckScatterAddRows(x, floats(4, 5), index), "dst has 6 columns, src 5"},
		{"index", kernels.CheckRowIndex("gather rows", 2, 9, 9), "gather rows: index[2] is 9, want 0 to 8"},
		{"activation", kernels.CheckActivate(x, x, kernels.ReLU+1), "unknown activation 5"},
		{"gate", kernels.CheckGateBackward(x, x, x, x, row, kernels.SiLU), "up is (1, 6), want (4, 6)"},
		{"rotate", kernels.CheckRotate(x, 6, floats(9, 3), floats(9, 3), index), ""},
		{"rotate odd", kernels.CheckRotate(x, 3, floats(9, 1), floats(9, 1), index), "want an even divisor of 6 columns"},
		{"rotate sin", kernels.CheckRotate(x, 6, floats(9, 3), floats(8, 3), index), "sin is (8, 3), want (9, 3)"},
		{"argmax", kernels.CheckArgmaxRows(index, floats(4, 0)), "x has no columns"},
		{"linear", kernels.CheckLinearForward(floats(5, 3), floats(5, 6), w, floats(1, 3)), ""},
		{"linear bias", kernels.CheckLinearForward(floats(5, 3), floats(5, 6), w, row), "bias is (1, 6), want (1, 3)"},
		{"linear mask", kernels.CheckEffectiveWeight(floats(3, 6), kernels.LinearWeight{W: w.W, Mask: of(kernels.U64, 3, 2)}), "mask is (3, 2), want (3, 1)"},
		{"linear two of four", kernels.CheckEffectiveWeight(floats(3, 6), kernels.LinearWeight{W: w.W, Mask: w.Mask, Kept: 12, TwoOfFour: true}), ""},
		{"linear three of four", kernels.CheckEffectiveWeight(floats(3, 6), kernels.LinearWeight{W: w.W, Mask: w.Mask, Kept: 13, TwoOfFour: true}),
			"13 weights of (3, 6) are kept, more than two of each four inputs"},
		{"linear half adapter", kernels.CheckEffectiveWeight(floats(3, 6), kernels.LinearWeight{W: w.W, A: w.A}), "B absent"},
		{"linear gradient", kernels.CheckLinearBackwardInput(floats(5, 6), floats(5, 4), w), "dy is (5, 4), want (5, 3)"},
		{"adapter", kernels.CheckLinearBackwardAdapter(w.A, w.B, floats(5, 3), floats(5, 6), w), ""},
		{"no adapter", kernels.CheckLinearBackwardAdapter(w.A, w.B, floats(5, 3), floats(5, 6), kernels.LinearWeight{W: w.W}), "no adapter"},
		{"weight gradient", kernels.CheckLinearBackwardWeight(w.W, floats(5, 3), floats(4, 6), none), "dy is (5, 3), want (4, 3)"},
		{"merge", kernels.CheckEffectiveWeight(of(kernels.BF16, 3, 6), w), "dst is bf16"},
		{"layer norm", kernels.CheckLayerNorm(x, x, row, of(kernels.BF16, 1, 6), floats(1, 4), floats(1, 4)), ""},
		{"layer norm frozen", kernels.CheckLayerNormBackward(x, none, none, x, x, row, floats(1, 4), floats(1, 4)), ""},
		{"rms norm", kernels.CheckRMSNorm(x, x, floats(1, 5), floats(1, 4)), "gamma is (1, 5), want (1, 6)"},
		{"rms norm gradient", kernels.CheckRMSNormBackward(x, of(kernels.BF16, 1, 6), x, x, row, floats(1, 4)), "dgamma is bf16"},
		{"segments", kernels.CheckSegmentSumSquares(of(kernels.F64, 1, 2), row, []int{0, 3, 6}), ""},
		{"segments down", kernels.CheckSegmentSumSquares(of(kernels.F64, 1, 2), row, []int{0, 3, 2}), "offsets[2] is 2, want 3 to 6"},
		{"segments none", kernels.CheckSegmentSumSquares(none, row, nil), "no offsets"},
		{"select", kernels.SelectMaskArgs{Mask: of(kernels.U64, 4, 1), Bad: index, W: of(kernels.BF16, 4, 6), Norms: of(kernels.F64, 1, 6), N: 2, M: 3}.Check(), ""},
		{"select pattern", kernels.SelectMaskArgs{Mask: of(kernels.U64, 4, 1), Bad: index, W: x, N: 3, M: 3}.Check(), "3 of 3, want 1 ≤ N < M ≤ 64"},
		{"select width", kernels.SelectMaskArgs{Mask: of(kernels.U64, 4, 1), Bad: index, W: x, N: 2, M: 4}.Check(), "W has 6 columns, want a multiple of 4"},
		{"select norms", kernels.SelectMaskArgs{Mask: of(kernels.U64, 4, 1), Bad: index, W: x, Norms: row, N: 1, M: 2}.Check(), "norms is fp32"},
		{"select bad", kernels.SelectMaskArgs{Mask: of(kernels.U64, 4, 1), Bad: of(kernels.I32, 1, 6), W: x, N: 1, M: 2}.Check(), "bad is (1, 6), want (1, 4)"},
		{"pack", kernels.CheckPackKept(floats(1, 24), x, of(kernels.U64, 4, 1)), ""},
		{"pack more", kernels.CheckPackKept(floats(1, 25), x, of(kernels.U64, 4, 1)), "pack kept: dst has 25 elements, src (4, 6) fewer"},
		{"unpack mask", kernels.CheckUnpackKept(x, floats(1, 5), of(kernels.U64, 3, 1)), "unpack kept: mask is (3, 1), want (4, 1)"},
		{"kept", kernels.CheckKept("pack kept", 7, 6), "pack kept: the mask keeps 7 elements, want 6"},
		{"columns", kernels.CheckColumnSumSquares(of(kernels.F64, 1, 4), x), "dst is (1, 4), want (1, 6)"},
	} {
		switch {
		case c.want == "" && c.err != nil:
			t.Errorf("%s: %v", c.name, c.err)
		case c.want != "" && (c.err == nil || !strings.Contains(c.err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, c.err, c.want)
		}
	}
}
