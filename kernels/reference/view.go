package reference

import (
	"unsafe"

	"ressa/kernels"
)

// matrix is a tensor's memory as Go sees it: element (i, j) is data[i*stride+j].
type matrix[T any] struct {
	data               []T
	rows, cols, stride int
}

// row returns row i.
func (m matrix[T]) row(i int) []T { return m.data[i*m.stride : i*m.stride+m.cols : i*m.stride+m.cols] }

// view returns the elements of t, whose dtype the caller knows to be T's.
func view[T any](t kernels.Tensor) matrix[T] {
	m := matrix[T]{rows: t.Rows, cols: t.Cols, stride: t.Stride}
	if t.Rows < 1 || t.Cols < 1 {
		return m
	}
	var zero T
	size := int(unsafe.Sizeof(zero))
	n := (t.Rows-1)*t.Stride + t.Cols
	mem := t.Buffer.(*buffer).mem[t.Offset*size : (t.Offset+n)*size]
	m.data = unsafe.Slice((*T)(unsafe.Pointer(&mem[0])), n)
	return m
}

// floats returns the elements of an F32 tensor.
func floats(t kernels.Tensor) matrix[float32] { return view[float32](t) }

// widened returns the elements of t, F32 or BF16, as float32: in place, or as a
// copy. An absent tensor gives no rows.
func widened(t kernels.Tensor) matrix[float32] {
	if t.IsZero() {
		return matrix[float32]{}
	}
	if t.DType == kernels.F32 {
		return floats(t)
	}
	src := view[uint16](t)
	dst := newMatrix[float32](t.Rows, t.Cols)
	for i := range t.Rows {
		widenRow(dst.row(i), src.row(i))
	}
	return dst
}

func widenRow(dst []float32, src []uint16) {
	for j, b := range src {
		dst[j] = kernels.FromBF16(b)
	}
}

// newMatrix returns dense scratch of rows × cols zeros.
func newMatrix[T any](rows, cols int) matrix[T] {
	return matrix[T]{data: make([]T, rows*cols), rows: rows, cols: cols, stride: cols}
}

// rowBytes returns the memory of row i of t.
func rowBytes(t kernels.Tensor, i int) []byte {
	if t.Cols == 0 {
		return nil
	}
	size := t.DType.Size()
	at := (t.Offset + i*t.Stride) * size
	return t.Buffer.(*buffer).mem[at : at+t.Cols*size]
}

// bit reports whether column c of a mask row is kept.
func bit(words []uint64, c int) bool { return words[c/64]>>(c%64)&1 != 0 }
