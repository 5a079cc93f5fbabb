package safetensors

import "fmt"

// DType is the element type of a stored tensor. The values are ordered as the
// format's reference implementation orders them, by rising alignment; the
// writer relies on it.
type DType uint8

// The element types of the format that fill whole bytes.
const (
	Bool DType = iota // one byte, 0 or 1
	U8
	I8
	F8E5M2
	F8E4M3
	F8E8M0
	I16
	U16
	F16
	BF16
	I32
	U32
	F32
	C64 // two binary32, real part first
	F64
	I64
	U64
	dtypeCount
)

// describe returns the name in the header and its size in bytes.
func (d DType) describe() (name string, size int) {
	switch d {
	case Bool:
		return "BOOL", 1
	case U8:
		return "U8", 1
	case I8:
		return "I8", 1
	case F8E5M2:
		return "F8_E5M2", 1
	case F8E4M3:
		return "F8_E4M3", 1
	case F8E8M0:
		return "F8_E8M0", 1
	case I16:
		return "I16", 2
	case U16:
		return "U16", 2
	case F16:
		return "F16", 2
	case BF16:
		return "BF16", 2
	case I32:
		return "I32", 4
	case U32:
		return "U32", 4
	case F32:
		return "F32", 4
	case C64:
		return "C64", 8
	case F64:
		return "F64", 8
	case I64:
		return "I64", 8
	case U64:
		return "U64", 8
	}
	return fmt.Sprintf("dtype(%d)", uint8(d)), 0
}

// String returns the name used in the header, as "BF16".
func (d DType) String() string {
	name, _ := d.describe()
	return name
}

// Size returns the bytes of one element; 0 for a value that is no dtype.
func (d DType) Size() int {
	_, size := d.describe()
	return size
}

// ParseDType returns the type that has the given name in a header.
func ParseDType(name string) (DType, error) {
	for d := DType(0); d < dtypeCount; d++ {
		if d.String() == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("unknown dtype %q", name)
}

// ByteSize returns the bytes of a row-major tensor, an empty shape being one
// element. It fails on a negative dimension and where the product overflows.
func ByteSize(d DType, shape []int) (int, error) {
	const most = int(^uint(0) >> 1)
	n := d.Size()
	if n == 0 {
		return 0, fmt.Errorf("unknown %v", d)
	}
	zero := false
	for _, dim := range shape {
		if dim < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		zero = zero || dim == 0
	}
	if zero {
		return 0, nil
	}
	for _, dim := range shape {
		if n > most/dim {
			return 0, fmt.Errorf("%v %v overflows the size of a file", d, shape)
		}
		n *= dim
	}
	return n, nil
}
