//go:build cgo && linux

package cuda

import "ressa/kernels"

// The argument structs of masking.cu.
type (
	selectMaskArgs struct {
		head
		mask, bad, w, norms view
		keep, group         int32
	}
	keptArgs struct {
		head
		dense, packed, mask view
		before              uint64
		pieces              int64
	}
)

// keptColumns is KEPT_COLUMNS of masking.cu.
const keptColumns = 1024

// SelectMask makes an n:m mask.
func (s *Stream) SelectMask(w kernels.SelectMaskArgs) {
	const op = "select mask"
	s.fail(w.Check())
	launch(s, "select_mask", w.W.Rows, &selectMaskArgs{
		mask: s.view(op, "mask", w.Mask), bad: s.view(op, "bad", w.Bad), w: s.view(op, "W", w.W), norms: s.optional(op, "norms", w.Norms),
		keep: int32(w.N), group: int32(w.M),
	})
}

// PackKept writes the elements of src that the mask keeps to dst.
func (s *Stream) PackKept(dst, src, mask kernels.Tensor) {
	s.fail(kernels.CheckPackKept(dst, src, mask))
	s.kept("pack kept", "pack_kept", src, dst, mask)
}

// UnpackKept writes src to the elements of dst that the mask keeps.
func (s *Stream) UnpackKept(dst, src, mask kernels.Tensor) {
	s.fail(kernels.CheckUnpackKept(dst, src, mask))
	s.kept("unpack kept", "unpack_kept", dst, src, mask)
}

// kept launches the kernel behind those that find where each piece's elements lie.
func (s *Stream) kept(op, kernel string, dense, packed, mask kernels.Tensor) {
	pieces := dense.Rows * ceil(dense.Cols, keptColumns)
	if pieces == 0 {
		return
	}
	a := &keptArgs{dense: s.view(op, "matrix", dense), packed: s.view(op, "packed", packed), mask: s.view(op, "mask", mask),
		before: s.temporary(8 * pieces), pieces: int64(pieces)}
	blocks := ceil(pieces, threads/32)
	launch(s, "count_kept", blocks, a)
	launch(s, "sum_kept", 1, a)
	s.checked(op, packed.Cols, refusedCount)
	launch(s, kernel, blocks, a)
}

// refusedCount is the fault of sum_kept: the number is spread over both words.
func refusedCount(op string, i int, v int32, packed int) error {
	return kernels.CheckKept(op, i<<32|int(uint32(v)), packed)
}
