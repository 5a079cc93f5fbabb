package tensor

import (
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"

	"ressa/kernels"
)

// formatVersion is the value of keyFormat. Readers refuse any other.
const formatVersion = "1"

// Keys of the schema's metadata.
const (
	keyFormat     = "ressa.format"
	keyGeneration = "ressa.generation"
	keyStep       = "ressa.step"
	keyMicrobatch = "ressa.microbatch"
	keyEdge       = "ressa.edge"
	tracePrefix   = "trace."
)

// Keys of a column's metadata. Arrow has no bfloat16: the bits travel as uint16.
const (
	keyExtension         = "ARROW:extension:name"
	keyExtensionMetadata = "ARROW:extension:metadata"
	fixedShapeTensor     = "arrow.fixed_shape_tensor"
	keyDType             = "ressa.dtype"
	shapeFormat          = `{"shape":[%d,%d]}`
)

// Fields of Arrow's metadata tables (format/Schema.fbs), by number.
const (
	schemaEndianness = 0
	schemaFields     = 1
	schemaMetadata   = 2

	fieldName       = 0
	fieldNullable   = 1
	fieldKind       = 2 // which member of the union of types
	fieldType       = 3
	fieldDictionary = 4
	fieldChildren   = 5
	fieldMetadata   = 6
)

// Members of the union of types.
const (
	kindInt           = 2 // bit width, signed
	kindFloat         = 3 // precision
	kindList          = 12
	kindFixedSizeList = 16 // length
	singlePrecision   = 1
)

// The stream is followed by a trailer: four bytes and the CRC-32C, little-endian,
// of everything before the trailer.
const (
	trailerMagic = "RSA1"
	trailerSize  = len(trailerMagic) + 4
)

// elementType returns Arrow's storage type of a dtype that byteSize accepts.
func elementType(d kernels.DType) arrow.DataType {
	switch d {
	case kernels.BF16:
		return arrow.PrimitiveTypes.Uint16
	case kernels.I32:
		return arrow.PrimitiveTypes.Int32
	default:
		return arrow.PrimitiveTypes.Float32
	}
}

// arrayField describes an array's column.
func arrayField(name string, d kernels.DType, rows, cols int) arrow.Field {
	return arrow.Field{
		Name: name,
		Type: arrow.FixedSizeListOfNonNullable(int32(rows*cols), elementType(d)),
		Metadata: arrow.NewMetadata(
			[]string{keyExtension, keyExtensionMetadata, keyDType},
			[]string{fixedShapeTensor, fmt.Sprintf(shapeFormat, rows, cols), d.String()}),
	}
}

// intsField describes the column of named integers.
func intsField(name string) arrow.Field {
	return arrow.Field{Name: name, Type: arrow.ListOfNonNullable(arrow.PrimitiveTypes.Int32)}
}
