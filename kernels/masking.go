package kernels

import "fmt"

// SelectMaskArgs makes an n:m mask of a weight by the scores |W|·Norms, which are
// products in float64: of each M consecutive columns of a row the N of the greatest
// score are kept, of equal ones those in higher columns. Zeros of both signs are
// equal. A score that is negative, infinite or NaN has no order: the group that has
// one keeps nothing, and Bad tells of it.
type SelectMaskArgs struct {
	Mask  Tensor // U64 (out, MaskWords(in)), written
	Bad   Tensor // I32 (1, out), written: the first column of a row whose score has no order, or −1
	W     Tensor // F32 or BF16 (out, in)
	Norms Tensor // F64 (1, in); absent: all 1
	N, M  int    // 1 ≤ N < M ≤ 64; M divides in
}

// Check verifies shapes, dtypes and the pattern.
func (a SelectMaskArgs) Check() error {
	r, c := a.W.Rows, a.W.Cols
	if err := checkAll("select mask", is(a.W, "W", F32, BF16), shaped(a.Mask, "mask", U64, r, MaskWords(c)), shaped(a.Bad, "bad", I32, 1, r)); err != nil {
		return err
	}
	if !a.Norms.IsZero() {
		if err := checkAll("select mask", shaped(a.Norms, "norms", F64, 1, c)); err != nil {
			return err
		}
	}
	if a.N < 1 || a.M <= a.N || a.M > 64 {
		return fmt.Errorf("select mask: %d of %d, want 1 ≤ N < M ≤ 64", a.N, a.M)
	}
	if c%a.M != 0 {
		return fmt.Errorf("select mask: W has %d columns, want a multiple of %d", c, a.M)
	}
	return nil
}

// CheckPackKept verifies the arguments of [Masking.PackKept].
func CheckPackKept(dst, src, mask Tensor) error {
	return checkKept("pack kept", src, "src", dst, "dst", mask)
}

// CheckUnpackKept verifies the arguments of [Masking.UnpackKept].
func CheckUnpackKept(dst, src, mask Tensor) error {
	return checkKept("unpack kept", dst, "dst", src, "src", mask)
}

func checkKept(op string, matrix Tensor, name string, packed Tensor, packedName string, mask Tensor) error {
	if err := checkAll(op, is(matrix, name, F32), shaped(packed, packedName, F32, 1, packed.Cols),
		shaped(mask, "mask", U64, matrix.Rows, MaskWords(matrix.Cols))); err != nil {
		return err
	}
	if packed.Cols > matrix.Len() {
		return fmt.Errorf("%s: %s has %d elements, %s (%d, %d) fewer", op, packedName, packed.Cols, name, matrix.Rows, matrix.Cols)
	}
	return nil
}

// CheckKept verifies, while an operation runs, that a mask in device memory keeps as
// many elements as the packed tensor has.
func CheckKept(op string, kept, packed int) error {
	if kept != packed {
		return fmt.Errorf("%s: the mask keeps %d elements, want %d", op, kept, packed)
	}
	return nil
}
