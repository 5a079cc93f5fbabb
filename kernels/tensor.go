package kernels

import "fmt"

// DType is the storage type of a tensor's elements.
type DType uint8

// The element types. Arithmetic is done in float32 whatever the storage type;
// F64 appears only in statistics (sums of squares).
const (
	F32  DType = iota // IEEE 754 binary32
	BF16              // bfloat16: the upper half of a binary32, rounded to nearest even
	F64               // IEEE 754 binary64
	I32               // two's complement 32-bit integer
	U64               // 64 bits, used for masks: bit c%64 of word c/64 is column c
)

// Size returns the bytes one element occupies.
func (d DType) Size() int {
	switch d {
	case BF16:
		return 2
	case F64, U64:
		return 8
	default:
		return 4
	}
}

// String returns the lower-case name used in job files and messages.
func (d DType) String() string {
	switch d {
	case F32:
		return "fp32"
	case BF16:
		return "bf16"
	case F64:
		return "fp64"
	case I32:
		return "int32"
	case U64:
		return "uint64"
	}
	return fmt.Sprintf("dtype(%d)", uint8(d))
}

// Buffer is a piece of device memory. Only the device that allocated it knows
// what is behind it; host code reaches its contents through [Transfers] alone.
type Buffer interface {
	// Bytes returns the size of the buffer.
	Bytes() int
}

// Tensor is a view of a buffer as a row-major matrix: Rows rows of Cols
// contiguous elements, Stride elements from one row to the next. Tensors of
// higher rank are seen as matrices over their last dimension: x [B, T, C] is
// (B·T, C). The zero Tensor means "absent" where an operation takes one as
// optional.
type Tensor struct {
	Buffer Buffer
	Offset int // elements from the start of the buffer
	DType  DType
	Rows   int
	Cols   int
	Stride int // elements; at least Cols
}

// NewTensor returns a dense view of rows × cols elements at the start of b.
func NewTensor(b Buffer, d DType, rows, cols int) Tensor {
	return Tensor{Buffer: b, DType: d, Rows: rows, Cols: cols, Stride: cols}
}

// IsZero reports whether t is absent.
func (t Tensor) IsZero() bool { return t.Buffer == nil }

// Len returns the number of elements seen through t.
func (t Tensor) Len() int { return t.Rows * t.Cols }

// Bytes returns the bytes of the elements seen through t, without row padding.
func (t Tensor) Bytes() int { return t.Len() * t.DType.Size() }

// Dense reports whether the rows follow each other without a gap.
func (t Tensor) Dense() bool { return t.Stride == t.Cols || t.Rows <= 1 }

// SliceRows returns rows lo to hi-1 of t.
func (t Tensor) SliceRows(lo, hi int) Tensor {
	t.Offset += lo * t.Stride
	t.Rows = hi - lo
	return t
}

// SliceCols returns columns lo to hi-1 of t.
func (t Tensor) SliceCols(lo, hi int) Tensor {
	t.Offset += lo
	t.Cols = hi - lo
	return t
}

// Reshape returns the elements of a dense t as rows × cols. It panics when t is
// not dense or the number of elements differs: both are mistakes of the caller.
func (t Tensor) Reshape(rows, cols int) Tensor {
	if !t.Dense() || rows*cols != t.Len() {
		panic(fmt.Sprintf("kernels: cannot see %v as (%d, %d)", t, rows, cols))
	}
	t.Rows, t.Cols, t.Stride = rows, cols, cols
	return t
}

// String describes the view for error messages.
func (t Tensor) String() string {
	if t.IsZero() {
		return "absent"
	}
	return fmt.Sprintf("%v (%d, %d) stride %d", t.DType, t.Rows, t.Cols, t.Stride)
}

// MaskWords returns the number of U64 words in a mask row of cols columns.
func MaskWords(cols int) int { return (cols + 63) / 64 }
