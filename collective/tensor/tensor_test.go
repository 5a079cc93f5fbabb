package tensor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"ressa/kernels"
)

var update = flag.Bool("update", false, "rewrite testdata")

func sample() *Message {
	f32 := make([]byte, 2*3*4)
	for i := range f32 {
		f32[i] = byte(i*37 + 1)
	}
	return &Message{
		Header: Header{Generation: 7, Step: 12, Microbatch: 3, Edge: "vision>language",
			Trace: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}},
		Arrays: []Array{
			{"student/features", kernels.F32, 2, 3, f32},
			{"dense/features", kernels.BF16, 1, 5, []byte{0x80, 0x3f, 0, 0, 0xc0, 0x7f, 1, 0, 0, 0x80}},
			{"index", kernels.I32, 1, 1, []byte{0xff, 0xff, 0xff, 0xff}},
		},
		Ints: []Ints{{"grid", []int32{1, -2, 3}}, {"none", []int32{}}},
	}
}

func encode(t testing.TB, m *Message) []byte {
	t.Helper()
	b, err := Encode(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	for name, m := range map[string]*Message{
		"full":  sample(),
		"empty": {Header: Header{Edge: "vision>language"}},
		"ints":  {Header: Header{Generation: 1<<64 - 1}, Ints: []Ints{{"n", []int32{4}}}},
	} {
		b := encode(t, m)
		if len(b) > Bound(m) {
			t.Errorf("%s: %d bytes exceed the bound %d", name, len(b), Bound(m))
		}
		got, err := Decode(b, Want{Header: m.Header})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: got %+v, want %+v", name, got, m)
		}
		// Equal messages give equal bytes, also in a used buffer, which is not grown.
		buf := bytes.Repeat([]byte{0xaa}, Bound(m))
		again, err := Encode(buf, m)
		if err != nil || !bytes.Equal(again, b) || &again[0] != &buf[0] {
			t.Errorf("%s: encoding into a buffer differs (%v)", name, err)
		}
	}
}

func TestFormatIsStable(t *testing.T) {
	const path = "testdata/edge.arrow"
	b := encode(t, sample())
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, golden) {
		t.Errorf("the encoding changed: a new format needs a new %s", keyFormat)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Message)
		want   error
	}{
		"short data":      {func(m *Message) { m.Arrays[0].Data = m.Arrays[0].Data[1:] }, ErrShape},
		"empty":           {func(m *Message) { m.Arrays[0].Rows = 0 }, ErrShape},
		"dtype":           {func(m *Message) { m.Arrays[0].DType = kernels.F64 }, ErrShape},
		"too many":        {func(m *Message) { m.Arrays[0].Rows, m.Arrays[0].Cols = 1<<31, 1<<31 }, ErrTooLarge},
		"array twice":     {func(m *Message) { m.Arrays[1].Name = m.Arrays[0].Name }, ErrShape},
		"ints twice":      {func(m *Message) { m.Ints[1].Name = m.Ints[0].Name }, ErrShape},
		"long name":       {func(m *Message) { m.Edge = strings.Repeat("é", MaxName) }, ErrTooLarge},
		"columns":         {func(m *Message) { m.Ints = make([]Ints, MaxColumns) }, ErrTooLarge},
		"negative step":   {func(m *Message) { m.Step = -1 }, ErrShape},
		"long trace":      {func(m *Message) { m.Trace["x"] = strings.Repeat("y", MaxName+1) }, ErrTooLarge},
		"negative extent": {func(m *Message) { m.Arrays[0].Rows, m.Arrays[0].Cols = -2, -3 }, ErrShape},
	} {
		m := sample()
		c.change(m)
		if _, err := Encode(nil, m); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	want := Want{Header: sample().Header}
	for name, c := range map[string]struct {
		change func(b []byte, w *Want) []byte
		want   error
	}{
		"nothing":    {func([]byte, *Want) []byte { return nil }, ErrTruncated},
		"half":       {func(b []byte, _ *Want) []byte { return b[:len(b)/2] }, ErrTruncated},
		"last byte":  {func(b []byte, _ *Want) []byte { return b[:len(b)-1] }, ErrTruncated},
		"bit":        {func(b []byte, _ *Want) []byte { b[len(b)/2] ^= 4; return b }, ErrCorrupt},
		"no batch":   {func(b []byte, _ *Want) []byte { return seal(b[:8+binary.LittleEndian.Uint32(b[4:])]) }, ErrTruncated},
		"tail":       {func(b []byte, _ *Want) []byte { return seal(append(b[:len(b)-trailerSize], 1)) }, ErrCorrupt},
		"oversize":   {func(b []byte, w *Want) []byte { w.MaxBytes = len(b) - 1; return b }, ErrTooLarge},
		"stale":      {func(b []byte, w *Want) []byte { w.Generation++; return b }, ErrStale},
		"ahead":      {func(b []byte, w *Want) []byte { w.Generation--; return b }, ErrAhead},
		"step":       {func(b []byte, w *Want) []byte { w.Step++; return b }, ErrMisplaced},
		"microbatch": {func(b []byte, w *Want) []byte { w.Microbatch--; return b }, ErrMisplaced},
		"edge":       {func(b []byte, w *Want) []byte { w.Edge = "language>vision"; return b }, ErrMisplaced},
		"fewer":      {func(b []byte, w *Want) []byte { w.Arrays = []Spec{}; return b }, ErrShape},
		"rows": {func(b []byte, w *Want) []byte {
			w.Arrays = []Spec{{"student/features", kernels.F32, 3, 3}, {"dense/features", kernels.BF16, 0, 0}, {"index", kernels.I32, 1, 1}}
			return b
		}, ErrShape},
		"dtype": {func(b []byte, w *Want) []byte {
			w.Arrays = []Spec{{"student/features", kernels.F32, 2, 3}, {"dense/features", kernels.F32, 0, 0}, {"index", kernels.I32, 1, 1}}
			return b
		}, ErrShape},
		"ints": {func(b []byte, w *Want) []byte { w.Ints = []string{"grid", "other"}; return b }, ErrShape},
		"version": {func(b []byte, _ *Want) []byte {
			return reseal(bytes.Replace(b, []byte("ressa.format"), []byte("ressa.farmot"), 1))
		}, ErrCorrupt},
		"shape": {func(b []byte, _ *Want) []byte {
			return reseal(bytes.Replace(b, []byte("[2,3]"), []byte("[2,4]"), 1))
		}, ErrShape},
		"huge shape": {func(b []byte, _ *Want) []byte {
			return reseal(bytes.Replace(b, []byte(`{"shape":[2,3]}`), []byte(`{"shape":[2,-]}`), 1))
		}, ErrShape},
	} {
		w := want
		b := c.change(encode(t, sample()), &w)
		if m, err := Decode(b, w); !errors.Is(err, c.want) || m != nil {
			t.Errorf("%s: %v, %v, want %v", name, m, err, c.want)
		}
	}
}

// reseal makes the checksum of changed bytes right again.
func reseal(b []byte) []byte { return seal(bytes.Clone(b[:len(b)-trailerSize])) }

func TestDecodeAcceptsWhatWasWanted(t *testing.T) {
	m := sample()
	_, err := Decode(encode(t, m), Want{Header: m.Header, MaxBytes: 1 << 16, Ints: []string{"grid", "none"},
		Arrays: []Spec{{"student/features", kernels.F32, 2, 3}, {"dense/features", kernels.BF16, 0, 5}, {"index", kernels.I32, 0, 0}}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryFlippedByteIsRefusedOrHarmless changes each byte behind a right
// checksum: a hostile writer gets an error or a valid message, never a panic.
func TestEveryFlippedByteIsRefusedOrHarmless(t *testing.T) {
	m := sample()
	whole := encode(t, m)
	for i := range len(whole) - trailerSize {
		for _, x := range []byte{1, 0x80, 0xff} {
			b := bytes.Clone(whole)
			b[i] ^= x
			if got, err := Decode(b, Want{Header: m.Header}); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d: %v, %v", i, got, err)
			}
			if got, err := Decode(reseal(b), Want{Header: m.Header}); err == nil {
				if err := got.Check(); err != nil {
					t.Fatalf("byte %d: decoded what does not pass its own check: %v", i, err)
				}
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []*Message{sample(), {}, {Ints: []Ints{{"n", []int32{1}}}}} {
		b := encode(f, m)
		f.Add(b[:len(b)-trailerSize])
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		b := seal(bytes.Clone(stream))
		h := Header{Generation: 7, Step: 12, Microbatch: 3, Edge: "vision>language"}
		m, err := Decode(b, Want{Header: h})
		if err != nil {
			return
		}
		again, err := Encode(nil, m)
		if err != nil {
			t.Fatalf("a decoded message cannot be encoded: %v", err)
		}
		if back, err := Decode(again, Want{Header: h}); err != nil || !reflect.DeepEqual(back, m) {
			t.Fatalf("a message changed on its second way: %v", err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	m := &Message{Arrays: []Array{{"hidden", kernels.F32, 4096, 1024, make([]byte, 16<<20)}}}
	buf := make([]byte, Bound(m))
	b.SetBytes(16 << 20)
	for b.Loop() {
		if _, err := Encode(buf, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	m := &Message{Arrays: []Array{{"hidden", kernels.F32, 4096, 1024, make([]byte, 16<<20)}}}
	raw := encode(b, m)
	b.SetBytes(16 << 20)
	for b.Loop() {
		if _, err := Decode(raw, Want{}); err != nil {
			b.Fatal(err)
		}
	}
}
