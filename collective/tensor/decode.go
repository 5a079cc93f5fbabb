package tensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"ressa/collective/castagnoli"
	"ressa/kernels"
)

// Want is what a reader expects of a message.
type Want struct {
	Header            // all but Trace is compared
	Arrays   []Spec   // in order; nil: any arrays
	Ints     []string // names in order; nil: any
	MaxBytes int      // of the encoded message; 0: no limit of the reader's own
}

// Spec is what a reader expects of one array.
type Spec struct {
	Name       string
	DType      kernels.DType
	Rows, Cols int // 0: any
}

// Decode reads a message and checks it against want. The arrays of the result
// lie in b, which the caller must leave alone while it uses them. What is wrong
// with a message is told by the errors of this package; nothing is returned with
// one.
func Decode(b []byte, want Want) (*Message, error) {
	m, err := decode(b, want)
	if err != nil {
		return nil, fmt.Errorf("tensor: edge %q, step %d, microbatch %d: %w", want.Edge, want.Step, want.Microbatch, err)
	}
	return m, nil
}

func decode(b []byte, want Want) (*Message, error) {
	if want.MaxBytes > 0 && len(b) > want.MaxBytes {
		return nil, fmt.Errorf("%d bytes, at most %d: %w", len(b), want.MaxBytes, ErrTooLarge)
	}
	stream, err := unseal(b)
	if err != nil {
		return nil, err
	}
	schema, _, stream, err := cut(stream, schemaHeader)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	m := &Message{}
	if err := m.readHeader(schema); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if err := m.Header.matches(want.Header); err != nil {
		return nil, err
	}
	record, body, stream, err := cut(stream, batchHeader)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if err := ended(stream); err != nil {
		return nil, err
	}
	fields := schema.tables(schemaFields, MaxColumns)
	columns, err := readBatch(record, body, len(fields))
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	for _, f := range fields {
		if err := m.readColumn(f, columns); err != nil {
			return nil, fmt.Errorf("column %q: %w", clip(f.text(fieldName)), err)
		}
	}
	if schema.f.err != nil {
		return nil, fmt.Errorf("schema: %w", schema.f.err)
	}
	if len(columns.nodes) > 0 || len(columns.buffers) > 0 {
		return nil, fmt.Errorf("record: buffers of no column: %w", ErrCorrupt)
	}
	if err := errors.Join(m.Check(), m.meets(want)); err != nil {
		return nil, err
	}
	return m, nil
}

// unseal checks the trailer and returns what it covers.
func unseal(b []byte) ([]byte, error) {
	n := len(b) - trailerSize
	if n < 0 {
		return nil, fmt.Errorf("%d bytes: %w", len(b), ErrTruncated)
	}
	trailer := b[n:]
	if string(trailer[:len(trailerMagic)]) != trailerMagic {
		return nil, fmt.Errorf("%d bytes do not end in a checksum: %w", len(b), ErrTruncated)
	}
	sum := castagnoli.Checksum(b[:n])
	if got := binary.LittleEndian.Uint32(trailer[len(trailerMagic):]); got != sum {
		return nil, fmt.Errorf("checksum %08x, content has %08x: %w", got, sum, ErrCorrupt)
	}
	return b[:n], nil
}

func (m *Message) readHeader(schema table) error {
	metadata, err := keyValues(schema, schemaMetadata, 5+MaxTrace)
	if err != nil {
		return err
	}
	if schema.integer(schemaEndianness, 2, 0) != 0 {
		return fmt.Errorf("not little-endian: %w", ErrCorrupt)
	}
	if v := metadata[keyFormat]; v != formatVersion {
		return fmt.Errorf("format %q, want %q: %w", clip(v), formatVersion, ErrCorrupt)
	}
	if m.Generation, err = number(metadata, keyGeneration, math.MaxUint64); err != nil {
		return err
	}
	step, err := number(metadata, keyStep, math.MaxInt)
	if err != nil {
		return err
	}
	microbatch, err := number(metadata, keyMicrobatch, math.MaxInt)
	if err != nil {
		return err
	}
	edge, ok := metadata[keyEdge]
	if !ok {
		return fmt.Errorf("no %s: %w", keyEdge, ErrCorrupt)
	}
	m.Step, m.Microbatch, m.Edge = int(step), int(microbatch), edge
	for k, v := range metadata {
		if name, ok := strings.CutPrefix(k, tracePrefix); ok {
			if m.Trace == nil {
				m.Trace = map[string]string{}
			}
			m.Trace[name] = v
		}
	}
	return nil
}

// number reads a decimal number as a writer writes it, at most limit.
func number(metadata map[string]string, key string, limit uint64) (uint64, error) {
	v := metadata[key]
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || n > limit || strconv.FormatUint(n, 10) != v {
		return 0, fmt.Errorf("%s is %q, want a decimal number of 0 to %d: %w", key, clip(v), limit, ErrCorrupt)
	}
	return n, nil
}

// keyValues reads custom metadata; a key may stand once.
func keyValues(t table, slot, limit int) (map[string]string, error) {
	out := map[string]string{}
	for _, kv := range t.tables(slot, limit) {
		k := kv.text(0)
		if _, twice := out[k]; twice {
			return nil, fmt.Errorf("key %q twice: %w", clip(k), ErrCorrupt)
		}
		out[k] = kv.text(1)
	}
	return out, t.f.err
}

func (h Header) matches(want Header) error {
	switch {
	case h.Generation < want.Generation:
		return fmt.Errorf("generation %d, now %d: %w", h.Generation, want.Generation, ErrStale)
	case h.Generation > want.Generation:
		return fmt.Errorf("generation %d, here %d: %w", h.Generation, want.Generation, ErrAhead)
	case h.Step != want.Step || h.Microbatch != want.Microbatch || h.Edge != want.Edge:
		return fmt.Errorf("got step %d, microbatch %d, edge %q: %w", h.Step, h.Microbatch, clip(h.Edge), ErrMisplaced)
	}
	return nil
}

// readColumn appends the next column to m.
func (m *Message) readColumn(f table, columns *batch) error {
	name, kind := f.text(fieldName), f.integer(fieldKind, 1, 0)
	children := f.tables(fieldChildren, 1)
	metadata, err := keyValues(f, fieldMetadata, 8)
	if err != nil {
		return err
	}
	if len(children) != 1 || f.slot(fieldDictionary) >= 0 {
		return fmt.Errorf("%d children, dictionary: %v, want a plain list of numbers: %w", len(children), f.slot(fieldDictionary) >= 0, ErrShape)
	}
	if f.integer(fieldNullable, 1, 0) != 0 || children[0].integer(fieldNullable, 1, 0) != 0 || children[0].slot(fieldDictionary) >= 0 {
		return fmt.Errorf("values that may be null or are encoded, want plain ones: %w", ErrShape)
	}
	switch kind {
	case kindFixedSizeList:
		a := Array{Name: name}
		if err := a.describe(f, children[0], metadata); err != nil {
			return err
		}
		if _, err = columns.row(1); err == nil {
			a.Data, err = columns.items(a.DType.Size())
		}
		m.Arrays = append(m.Arrays, a)
	case kindList:
		if !isElement(children[0], kernels.I32) {
			return fmt.Errorf("a list of other than int32: %w", ErrShape)
		}
		v := Ints{Name: name}
		v.Values, err = readInts(columns)
		m.Ints = append(m.Ints, v)
	default:
		return fmt.Errorf("column of Arrow type %d, want a list: %w", kind, ErrShape)
	}
	return err
}

// describe reads an array's dtype and shape from its field; they must agree with
// each other.
func (a *Array) describe(f, item table, metadata map[string]string) error {
	if v := metadata[keyExtension]; v != fixedShapeTensor {
		return fmt.Errorf("extension %q, want %q: %w", clip(v), fixedShapeTensor, ErrShape)
	}
	shape := metadata[keyExtensionMetadata]
	_, err := fmt.Sscanf(shape, shapeFormat, &a.Rows, &a.Cols)
	if err != nil || shape != fmt.Sprintf(shapeFormat, a.Rows, a.Cols) {
		return fmt.Errorf("shape %q, want two dimensions: %w", clip(shape), ErrShape)
	}
	dtypes := []kernels.DType{kernels.F32, kernels.BF16, kernels.I32}
	i := slices.IndexFunc(dtypes, func(d kernels.DType) bool { return d.String() == metadata[keyDType] })
	if i < 0 || !isElement(item, dtypes[i]) {
		return fmt.Errorf("dtype %q, want one of %v as the items have it: %w", clip(metadata[keyDType]), dtypes, ErrShape)
	}
	a.DType = dtypes[i]
	if _, err := byteSize(a.DType, a.Rows, a.Cols); err != nil {
		return err
	}
	if n := f.table(fieldType).integer(0, 4, 0); n != int64(a.Rows)*int64(a.Cols) {
		return fmt.Errorf("a list of %d for shape (%d, %d): %w", n, a.Rows, a.Cols, ErrShape)
	}
	return nil
}

// isElement reports whether a child field is Arrow's storage type of d.
func isElement(f table, d kernels.DType) bool {
	kind, t := f.integer(fieldKind, 1, 0), f.table(fieldType)
	switch d {
	case kernels.F32:
		return kind == kindFloat && t.integer(0, 2, 0) == singlePrecision
	case kernels.BF16:
		return kind == kindInt && t.integer(0, 4, 0) == 16 && t.integer(1, 1, 0) == 0
	default:
		return kind == kindInt && t.integer(0, 4, 0) == 32 && t.integer(1, 1, 0) != 0
	}
}

func readInts(columns *batch) ([]int32, error) {
	buffers, err := columns.row(2)
	if err != nil {
		return nil, err
	}
	raw, err := columns.items(kernels.I32.Size())
	if err != nil {
		return nil, err
	}
	n := len(raw) / kernels.I32.Size()
	if o := buffers[0]; len(o) < 8 || binary.LittleEndian.Uint32(o) != 0 || uint64(binary.LittleEndian.Uint32(o[4:])) != uint64(n) {
		return nil, fmt.Errorf("offsets do not span the %d values: %w", n, ErrCorrupt)
	}
	values := make([]int32, n)
	for i := range values {
		values[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return values, nil
}

// meets compares names, dtypes and shapes with what the reader expects.
func (m *Message) meets(want Want) error {
	if want.Arrays != nil && len(m.Arrays) != len(want.Arrays) {
		return fmt.Errorf("%d arrays, want %d: %w", len(m.Arrays), len(want.Arrays), ErrShape)
	}
	for i, s := range want.Arrays {
		a := m.Arrays[i]
		if a.Name != s.Name || a.DType != s.DType || s.Rows > 0 && a.Rows != s.Rows || s.Cols > 0 && a.Cols != s.Cols {
			return fmt.Errorf("array %d is %q %v (%d, %d), want %q %v (%d, %d): %w",
				i, a.Name, a.DType, a.Rows, a.Cols, s.Name, s.DType, s.Rows, s.Cols, ErrShape)
		}
	}
	if want.Ints != nil && len(m.Ints) != len(want.Ints) {
		return fmt.Errorf("%d lists of integers, want %d: %w", len(m.Ints), len(want.Ints), ErrShape)
	}
	for i, name := range want.Ints {
		if m.Ints[i].Name != name {
			return fmt.Errorf("integers %q, want %q: %w", m.Ints[i].Name, name, ErrShape)
		}
	}
	return nil
}

// clip shortens text from a message for use in an error.
func clip(s string) string { return s[:min(len(s), 64)] }
