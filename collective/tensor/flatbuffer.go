package tensor

import (
	"encoding/binary"
	"fmt"
)

// flat reads a flatbuffer (https://flatbuffers.dev/internals) with a bound on
// every access. Arrow's own reader, made by the flatbuffers compiler, follows
// offsets unchecked and allocates for lengths as they stand in the message. The
// first bad access sticks in err; reads after it return zero.
type flat struct {
	b   []byte
	err error
}

// at returns n bytes from pos, zeros where they do not exist.
func (f *flat) at(pos, n int) []byte {
	if f.err == nil && (pos < 0 || n < 0 || pos > len(f.b)-n) {
		f.err = fmt.Errorf("%d bytes at %d of %d bytes of metadata: %w", n, pos, len(f.b), ErrCorrupt)
	}
	if f.err != nil {
		return make([]byte, max(0, min(n, 8)))
	}
	return f.b[pos : pos+n]
}

func (f *flat) u16(pos int) int { return int(binary.LittleEndian.Uint16(f.at(pos, 2))) }

func (f *flat) u32(pos int) int { return int(binary.LittleEndian.Uint32(f.at(pos, 4))) }

func (f *flat) i64(pos int) int64 { return int64(binary.LittleEndian.Uint64(f.at(pos, 8))) }

// table is a table of a flatbuffer; pos < 0 is an absent one.
type table struct {
	f   *flat
	pos int
}

// root returns the table that the buffer begins with.
func (f *flat) root() table { return table{f, f.u32(0)} }

// slot returns the position of a field, or -1 where the table leaves it out.
func (t table) slot(i int) int {
	if t.pos < 0 {
		return -1
	}
	vtable := t.pos - int(int32(t.f.u32(t.pos)))
	entry := 4 + 2*i
	if entry+2 > t.f.u16(vtable) {
		return -1
	}
	if offset := t.f.u16(vtable + entry); offset != 0 {
		return t.pos + offset
	}
	return -1
}

// integer returns a scalar field of size bytes (1, 2, 4 or 8), or absent.
func (t table) integer(i, size int, absent int64) int64 {
	pos := t.slot(i)
	if pos < 0 {
		return absent
	}
	switch size {
	case 1:
		return int64(t.f.at(pos, 1)[0])
	case 2:
		return int64(int16(t.f.u16(pos)))
	case 4:
		return int64(int32(t.f.u32(pos)))
	default:
		return t.f.i64(pos)
	}
}

// table returns a field that is a table.
func (t table) table(i int) table {
	pos := t.slot(i)
	if pos < 0 {
		return table{t.f, -1}
	}
	return table{t.f, pos + t.f.u32(pos)}
}

// vector returns where the elements of a vector begin and how many there are;
// all of them, size bytes each, lie within the buffer.
func (t table) vector(i, size int) (pos, n int) {
	at := t.slot(i)
	if at < 0 {
		return 0, 0
	}
	at += t.f.u32(at)
	n = t.f.u32(at)
	t.f.at(at+4, n*size)
	if t.f.err != nil {
		return 0, 0
	}
	return at + 4, n
}

// tables returns a field that is a vector of tables, at most limit of them.
func (t table) tables(i, limit int) []table {
	pos, n := t.vector(i, 4)
	if n > limit {
		t.f.err = fmt.Errorf("%d entries, at most %d: %w", n, limit, ErrTooLarge)
		return nil
	}
	out := make([]table, n)
	for k := range out {
		at := pos + 4*k
		out[k] = table{t.f, at + t.f.u32(at)}
	}
	return out
}

// maxText is how many bytes a string of the format has at most.
const maxText = MaxName + len(tracePrefix)

// text returns a field that is a string. Many fields may refer to one string, and
// each gets a copy: so it is short.
func (t table) text(i int) string {
	pos, n := t.vector(i, 1)
	if n > maxText {
		t.f.err = fmt.Errorf("a string of %d bytes, at most %d: %w", n, maxText, ErrTooLarge)
		return ""
	}
	return string(t.f.at(pos, n))
}
