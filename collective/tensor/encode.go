package tensor

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"ressa/collective/castagnoli"
	"ressa/kernels"
)

// Bound returns a number of bytes that is enough for m in nearly all cases; a
// buffer of that capacity is not grown by Encode.
func Bound(m *Message) int {
	// Flatbuffers of the schema and the batch: generous, and small beside tensors.
	n := 2048 + 2*len(m.Edge)
	for k, v := range m.Trace {
		n += 64 + len(k) + len(v)
	}
	for _, a := range m.Arrays {
		n += 768 + len(a.Name) + len(a.Data)
	}
	for _, v := range m.Ints {
		n += 512 + len(v.Name) + 4*len(v.Values)
	}
	return n
}

// Encode writes m into the capacity of buf, which it overwrites from the start,
// and returns the message; the result shares buf's memory unless that was too
// small. Equal messages give equal bytes.
func Encode(buf []byte, m *Message) ([]byte, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	out := appender(buf[:0])
	if need := Bound(m); cap(out) < need {
		out = make(appender, 0, need)
	}
	record := m.record()
	w := ipc.NewWriter(&out, ipc.WithSchema(record.Schema()))
	if err := w.Write(record); err != nil {
		return nil, fmt.Errorf("tensor: encode edge %q: %w", m.Edge, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("tensor: encode edge %q: %w", m.Edge, err)
	}
	return seal(out), nil
}

// seal appends the trailer.
func seal(b []byte) []byte {
	sum := castagnoli.Checksum(b)
	return binary.LittleEndian.AppendUint32(append(b, trailerMagic...), sum)
}

// appender is an io.Writer over a slice with room.
type appender []byte

// Write implements io.Writer.
func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// record views m as an Arrow record of one row. Nothing is copied.
func (m *Message) record() arrow.Record {
	keys := []string{keyFormat, keyGeneration, keyStep, keyMicrobatch, keyEdge}
	values := []string{formatVersion, strconv.FormatUint(m.Generation, 10), strconv.Itoa(m.Step), strconv.Itoa(m.Microbatch), m.Edge}
	for _, k := range sortedKeys(m.Trace) {
		keys, values = append(keys, tracePrefix+k), append(values, m.Trace[k])
	}
	metadata := arrow.NewMetadata(keys, values)
	var fields []arrow.Field
	var columns []arrow.Array
	for _, a := range m.Arrays {
		f := arrayField(a.Name, a.DType, a.Rows, a.Cols)
		items := array.NewData(elementType(a.DType), a.Rows*a.Cols, []*memory.Buffer{nil, memory.NewBufferBytes(a.Data)}, nil, 0, 0)
		data := array.NewData(f.Type, 1, []*memory.Buffer{nil}, []arrow.ArrayData{items}, 0, 0)
		fields, columns = append(fields, f), append(columns, array.MakeFromData(data))
	}
	for _, v := range m.Ints {
		f := intsField(v.Name)
		items := array.NewData(arrow.PrimitiveTypes.Int32, len(v.Values), []*memory.Buffer{nil, memory.NewBufferBytes(int32Bytes(v.Values...))}, nil, 0, 0)
		offsets := memory.NewBufferBytes(int32Bytes(0, int32(len(v.Values))))
		data := array.NewData(f.Type, 1, []*memory.Buffer{nil, offsets}, []arrow.ArrayData{items}, 0, 0)
		fields, columns = append(fields, f), append(columns, array.MakeFromData(data))
	}
	return array.NewRecord(arrow.NewSchema(fields, &metadata), columns, 1)
}

func int32Bytes(values ...int32) []byte {
	b := make([]byte, 0, kernels.I32.Size()*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	return b
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
