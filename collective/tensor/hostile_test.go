package tensor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/endian"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"ressa/kernels"
)

// forged is a sealed message as Arrow's own writer makes it of other schemas: the
// header is what Want{} expects.
type forged struct {
	keys, values []string
	fields       []arrow.Field
	json         string // of the one row
	batches      int
	options      []ipc.Option
	byteOrder    endian.Endianness
}

func newForged() *forged {
	return &forged{
		keys:    []string{keyFormat, keyGeneration, keyStep, keyMicrobatch, keyEdge},
		values:  []string{formatVersion, "0", "0", "0", ""},
		fields:  []arrow.Field{arrayField("x", kernels.F32, 1, 2)},
		json:    `{"x":[1,2]}`,
		batches: 1,
	}
}

func (f *forged) set(key, value string) {
	for i, k := range f.keys {
		if k == key {
			f.values[i] = value
			return
		}
	}
	f.keys, f.values = append(f.keys, key), append(f.values, value)
}

func (f *forged) bytes(t testing.TB) []byte {
	t.Helper()
	metadata := arrow.NewMetadata(f.keys, f.values)
	schema := arrow.NewSchemaWithEndian(f.fields, &metadata, f.byteOrder)
	// The builders make list items nullable, so they build under another schema.
	loose := make([]arrow.Field, len(f.fields))
	for i, x := range f.fields {
		loose[i] = x
		switch l := x.Type.(type) {
		case *arrow.FixedSizeListType:
			loose[i].Type = arrow.FixedSizeListOf(l.Len(), l.Elem())
		case *arrow.ListType:
			loose[i].Type = arrow.ListOf(l.Elem())
		case *arrow.LargeListType:
			loose[i].Type = arrow.LargeListOf(l.Elem())
		}
	}
	built, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema(loose, nil), strings.NewReader("["+f.json+"]"))
	if err != nil {
		t.Fatal(err)
	}
	var columns []arrow.Array
	for i, c := range built.Columns() {
		if arrow.TypeEqual(c.DataType(), f.fields[i].Type) {
			columns = append(columns, c)
			continue
		}
		d := c.Data()
		columns = append(columns, array.MakeFromData(array.NewData(f.fields[i].Type, d.Len(), d.Buffers(), d.Children(), d.NullN(), d.Offset())))
	}
	record := array.NewRecord(schema, columns, built.NumRows())
	var b bytes.Buffer
	w := ipc.NewWriter(&b, append(f.options, ipc.WithSchema(schema))...)
	for range f.batches {
		if err := w.Write(record); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return seal(b.Bytes())
}

// column replaces the only column.
func column(name string, typ arrow.DataType, json string, metadata ...string) func(*forged) {
	return func(f *forged) {
		c := arrow.Field{Name: name, Type: typ}
		if len(metadata) > 0 {
			c.Metadata = arrow.NewMetadata([]string{keyExtension, keyExtensionMetadata, keyDType}, metadata)
		}
		f.fields, f.json = []arrow.Field{c}, json
	}
}

// TestForeignMessages reads what another Arrow writer may send behind a right
// checksum: one plain message, and one for each way to be wrong. The error says what
// came.
func TestForeignMessages(t *testing.T) {
	if m, err := Decode(newForged().bytes(t), Want{}); err != nil || len(m.Arrays) != 1 || m.Arrays[0].Cols != 2 {
		t.Fatalf("the plain message: %+v, %v", m, err)
	}
	f32, shape := arrow.PrimitiveTypes.Float32, `{"shape":[1,2]}`
	list := arrow.FixedSizeListOfNonNullable(2, f32)
	for name, c := range map[string]struct {
		change func(*forged)
		want   error
		says   string
	}{
		"format":              {func(f *forged) { f.set(keyFormat, "2") }, ErrCorrupt, `format "2", want "1"`},
		"no edge":             {func(f *forged) { f.keys, f.values = f.keys[:4], f.values[:4] }, ErrCorrupt, keyEdge},
		"generation in words": {func(f *forged) { f.set(keyGeneration, "one") }, ErrCorrupt, `"one"`},
		"generation too long": {func(f *forged) { f.set(keyGeneration, "18446744073709551616") }, ErrCorrupt, keyGeneration},
		"newer generation":    {func(f *forged) { f.set(keyGeneration, "18446744073709551615") }, ErrAhead, "generation 18446744073709551615, here 0"},
		"signed step":         {func(f *forged) { f.set(keyStep, "+0") }, ErrCorrupt, `"+0"`},
		"negative step":       {func(f *forged) { f.set(keyStep, "-0") }, ErrCorrupt, `"-0"`},
		"long step":           {func(f *forged) { f.set(keyStep, "00") }, ErrCorrupt, `"00"`},
		"step too large":      {func(f *forged) { f.set(keyStep, strconv.FormatUint(math.MaxInt+1, 10)) }, ErrCorrupt, keyStep},
		"other step":          {func(f *forged) { f.set(keyStep, "4") }, ErrMisplaced, "got step 4"},
		"other microbatch":    {func(f *forged) { f.set(keyMicrobatch, "5") }, ErrMisplaced, "microbatch 5"},
		"other edge":          {func(f *forged) { f.set(keyEdge, "a>b") }, ErrMisplaced, `"a>b"`},
		"key twice":           {func(f *forged) { f.keys, f.values = append(f.keys, keyStep), append(f.values, "0") }, ErrCorrupt, "twice"},
		"long trace":          {func(f *forged) { f.set("trace.x", strings.Repeat("y", MaxName+1)) }, ErrTooLarge, "257 bytes"},
		"long metadata":       {func(f *forged) { f.set("other", strings.Repeat("y", 1<<16)) }, ErrTooLarge, "65536 bytes"},
		"traces": {func(f *forged) {
			for i := range MaxTrace + 1 {
				f.set(tracePrefix+strconv.Itoa(i), "v")
			}
		}, ErrTooLarge, "22 entries"},
		"big-endian":  {func(f *forged) { f.byteOrder = endian.BigEndian }, ErrCorrupt, "little-endian"},
		"no batch":    {func(f *forged) { f.batches = 0 }, ErrTruncated, "ends early"},
		"two batches": {func(f *forged) { f.batches = 2 }, ErrCorrupt, "something follows"},
		"two rows":    {func(f *forged) { f.json += `,{"x":[3,4]}` }, ErrCorrupt, "2 rows"},
		"lz4":         {func(f *forged) { f.options = []ipc.Option{ipc.WithLZ4()} }, ErrCorrupt, "compressed: true"},
		"zstd":        {func(f *forged) { f.options = []ipc.Option{ipc.WithZstd()} }, ErrCorrupt, "compressed: true"},
		"dictionary": {column("x", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, `{"x":"a"}`),
			ErrCorrupt, "message of kind 2, want 3"},
		"null":              {func(f *forged) { f.fields[0].Nullable = true; f.json = `{"x":null}` }, ErrShape, "null"},
		"nullable":          {func(f *forged) { f.fields[0].Nullable = true }, ErrShape, "null"},
		"nullable items":    {func(f *forged) { f.fields[0].Type = arrow.FixedSizeListOf(2, f32) }, ErrShape, "null"},
		"plain column":      {column("x", f32, `{"x":1}`), ErrCorrupt, "1 arrays"},
		"large list":        {column("x", arrow.LargeListOfNonNullable(arrow.PrimitiveTypes.Int32), `{"x":[1]}`), ErrShape, "Arrow type 21"},
		"struct":            {column("x", arrow.StructOf(arrow.Field{Name: "y", Type: f32}), `{"x":{"y":1}}`), ErrShape, "Arrow type 13"},
		"no extension":      {column("x", list, `{"x":[1,2]}`), ErrShape, `extension ""`},
		"other extension":   {column("x", list, `{"x":[1,2]}`, "arrow.json", shape, "fp32"), ErrShape, `extension "arrow.json"`},
		"three dimensions":  {column("x", list, `{"x":[1,2]}`, fixedShapeTensor, `{"shape":[1,2,1]}`, "fp32"), ErrShape, "[1,2,1]"},
		"shape with spaces": {column("x", list, `{"x":[1,2]}`, fixedShapeTensor, `{"shape": [1, 2]}`, "fp32"), ErrShape, "two dimensions"},
		"negative shape":    {column("x", list, `{"x":[1,2]}`, fixedShapeTensor, `{"shape":[-1,-2]}`, "fp32"), ErrShape, "(-1, -2)"},
		"shape overflows":   {column("x", list, `{"x":[1,2]}`, fixedShapeTensor, `{"shape":[4294967296,4294967296]}`, "fp32"), ErrTooLarge, "4294967296"},
		"shape of others":   {column("x", list, `{"x":[1,2]}`, fixedShapeTensor, `{"shape":[1,3]}`, "fp32"), ErrShape, "a list of 2 for shape (1, 3)"},
		"unknown dtype":     {column("x", list, `{"x":[1,2]}`, fixedShapeTensor, shape, "fp16"), ErrShape, `dtype "fp16"`},
		"dtype of others":   {column("x", list, `{"x":[1,2]}`, fixedShapeTensor, shape, "int32"), ErrShape, `dtype "int32"`},
		"signed bf16":       {column("x", arrow.FixedSizeListOfNonNullable(2, arrow.PrimitiveTypes.Int16), `{"x":[1,2]}`, fixedShapeTensor, shape, "bf16"), ErrShape, `"bf16"`},
		"double":            {column("x", arrow.FixedSizeListOfNonNullable(2, arrow.PrimitiveTypes.Float64), `{"x":[1,2]}`, fixedShapeTensor, shape, "fp32"), ErrShape, `"fp32"`},
		"list of float":     {column("x", arrow.ListOfNonNullable(f32), `{"x":[1,2]}`), ErrShape, "other than int32"},
		"list of uint32":    {column("x", arrow.ListOfNonNullable(arrow.PrimitiveTypes.Uint32), `{"x":[1,2]}`), ErrShape, "other than int32"},
		"name too long":     {func(f *forged) { f.fields[0].Name = strings.Repeat("x", MaxName+1); f.json = `{}` }, ErrTooLarge, "257 bytes"},
	} {
		f := newForged()
		c.change(f)
		if name == "name too long" {
			f.json = `{"` + f.fields[0].Name + `":[1,2]}`
		}
		m, err := Decode(f.bytes(t), Want{})
		if !errors.Is(err, c.want) || m != nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v and %q", name, err, c.want, c.says)
		}
	}
}

// bufferAt returns where the description of the k-th buffer of a message's record
// lies: its offset in the body and its length, 8 bytes each.
func bufferAt(t testing.TB, b []byte, k int) int {
	t.Helper()
	_, rest, err := cutMetadata(b)
	if err != nil {
		t.Fatal(err)
	}
	metadata, _, err := cutMetadata(rest)
	if err != nil {
		t.Fatal(err)
	}
	record := (&flat{b: metadata}).root().table(2)
	pos, n := record.vector(2, 16)
	if k >= n || record.f.err != nil {
		t.Fatalf("buffer %d of %d: %v", k, n, record.f.err)
	}
	return len(b) - len(rest) + 8 + pos + 16*k
}

// TestHostileBuffers moves the buffers of a record out of its body and onto each
// other.
func TestHostileBuffers(t *testing.T) {
	m := &Message{Arrays: []Array{{"x", kernels.F32, 4, 4, make([]byte, 64)}}, Ints: []Ints{{"n", make([]int32, 16)}, {"o", make([]int32, 16)}}}
	le := binary.LittleEndian
	// Buffers: x has a bitmap, a bitmap of its items and the items; n and o have a
	// bitmap, offsets, a bitmap of the items and the items.
	for name, c := range map[string]struct {
		buffer         int
		offset, length uint64
		want           error
	}{
		"negative offset":       {2, 1<<64 - 8, 64, ErrTruncated},
		"negative length":       {2, 0, 1<<64 - 8, ErrTruncated},
		"sum overflows":         {2, 1<<63 - 8, 1<<63 - 8, ErrTruncated},
		"offset past the body":  {2, 1 << 20, 0, ErrTruncated},
		"length past the body":  {2, 0, 1 << 40, ErrTruncated},
		"shorter than its list": {2, 0, 60, ErrTruncated},
		"onto the one before":   {10, 128, 64, ErrCorrupt},
		"over the next ones":    {2, 0, 128, ErrCorrupt},
		"no offsets":            {4, 64, 0, ErrCorrupt},
	} {
		b := encode(t, m)
		at := bufferAt(t, b, c.buffer)
		le.PutUint64(b[at:], c.offset)
		le.PutUint64(b[at+8:], c.length)
		if got, err := Decode(reseal(b), Want{}); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestClaimsAreNotAllocated has many columns share their bytes: what is allocated
// stays below a small multiple of the message.
func TestClaimsAreNotAllocated(t *testing.T) {
	m := &Message{Ints: []Ints{{"last", make([]int32, 1<<18)}}}
	for i := range 500 {
		m.Ints = append(m.Ints, Ints{strconv.Itoa(i), nil})
	}
	b := encode(t, m)
	first := b[bufferAt(t, b, 3) : bufferAt(t, b, 3)+16]
	for k := range 500 { // every list's items are the first one's
		copy(b[bufferAt(t, b, 4*k+7):], first)
	}
	b = reseal(b)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Decode(b, Want{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want an error of overlapping buffers", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(4*len(b)) {
		t.Errorf("a message of %d bytes made the reader allocate %d", len(b), n)
	}
}

// TestNaNsAreCarried sends NaNs with payloads of both kinds and signs.
func TestNaNsAreCarried(t *testing.T) {
	var wide, narrow []byte
	for _, x := range []uint32{0x7f800001, 0xff800001, 0x7fc12345, 0xffffffff, 0x7f800000, 0x80000000, 1} {
		wide = binary.LittleEndian.AppendUint32(wide, x)
		narrow = binary.LittleEndian.AppendUint16(narrow, uint16(x>>16|x&1))
	}
	m := &Message{Arrays: []Array{{"wide", kernels.F32, 7, 1, wide}, {"narrow", kernels.BF16, 1, 7, narrow}}}
	got, err := Decode(encode(t, m), Want{})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range got.Arrays {
		if !bytes.Equal(a.Data, m.Arrays[i].Data) {
			t.Errorf("%s: %x, want %x", a.Name, a.Data, m.Arrays[i].Data)
		}
	}
}
