package safetensors

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"ressa/trainer/checkpoint/durable"
)

// Entry is one tensor to write.
type Entry struct {
	Name  string
	DType DType
	Shape []int
	// Write streams the tensor's bytes, little-endian and row-major, exactly as
	// many as dtype and shape ask for. It is called at most once per encoding, in
	// the order of the file, so that one tensor at a time needs to be in memory.
	Write func(w io.Writer) error
}

// NewEntry returns the entry that writes t under a name.
func NewEntry(name string, t Tensor) Entry {
	return Entry{Name: name, DType: t.DType, Shape: t.Shape, Write: func(w io.Writer) error {
		_, err := w.Write(t.Data)
		return err
	}}
}

// Written describes a finished file.
type Written struct {
	SHA256 string // of the whole file, hexadecimal
	Bytes  int64
}

// Write writes the file at path atomically: it appears completely and durably,
// replacing what was there, or not at all. See [Encode] for the contents.
func Write(ctx context.Context, path string, entries []Entry, metadata map[string]string) (Written, error) {
	f, err := durable.Create(filepath.Dir(path))
	if err != nil {
		return Written{}, fmt.Errorf("write %s: %w", path, err)
	}
	defer f.Discard()
	w, err := Encode(ctx, f, entries, metadata)
	if err == nil {
		err = f.Commit(filepath.Base(path))
	}
	if err != nil {
		return Written{}, fmt.Errorf("write %s: %w", path, err)
	}
	return w, nil
}

// Encode writes a file to w. The bytes depend on the entries and the metadata
// alone, not on their order: tensors are ordered by dtype, widest alignment
// first, then by name; metadata keys are sorted; the header is padded with
// spaces to a multiple of 8 bytes, so that every tensor is aligned to its
// element size.
func Encode(ctx context.Context, w io.Writer, entries []Entry, metadata map[string]string) (Written, error) {
	ordered, sizes, err := order(entries)
	if err != nil {
		return Written{}, err
	}
	head, err := encodeHeader(ordered, sizes, metadata)
	if err != nil {
		return Written{}, err
	}
	hash := sha256.New()
	buffered := bufio.NewWriterSize(w, 1<<20)
	out := &countingWriter{ctx: ctx, w: io.MultiWriter(buffered, hash)}
	if _, err := out.Write(head); err != nil {
		return Written{}, err
	}
	for i, e := range ordered {
		start := out.n
		out.limit = start + int64(sizes[i])
		if err := e.Write(out); err != nil {
			return Written{}, fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if got := out.n - start; got != int64(sizes[i]) {
			return Written{}, fmt.Errorf("tensor %q: its source gave %d bytes, expected %d for %v %v", e.Name, got, sizes[i], e.DType, e.Shape)
		}
	}
	if err := buffered.Flush(); err != nil {
		return Written{}, err
	}
	return Written{SHA256: hex.EncodeToString(hash.Sum(nil)), Bytes: out.n}, nil
}

// order returns the entries in the order of the file and their sizes.
func order(entries []Entry) ([]Entry, []int, error) {
	ordered := slices.Clone(entries)
	slices.SortStableFunc(ordered, func(a, b Entry) int {
		if a.DType != b.DType {
			return int(b.DType) - int(a.DType)
		}
		return strings.Compare(a.Name, b.Name)
	})
	sizes := make([]int, len(ordered))
	seen := make(map[string]struct{}, len(ordered))
	for i, e := range ordered {
		if err := checkName(e.Name); err != nil {
			return nil, nil, err
		}
		if _, again := seen[e.Name]; again {
			return nil, nil, fmt.Errorf("tensor %q: given twice", e.Name)
		}
		seen[e.Name] = struct{}{}
		if len(e.Shape) > maxDimensions {
			return nil, nil, fmt.Errorf("tensor %q: found %d dimensions, expected at most %d", e.Name, len(e.Shape), maxDimensions)
		}
		size, err := ByteSize(e.DType, e.Shape)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		sizes[i] = size
	}
	return ordered, sizes, nil
}

// encodeHeader returns the length and the padded JSON.
func encodeHeader(entries []Entry, sizes []int, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, lengthBytes))
	b.WriteByte('{')
	if len(metadata) > 0 {
		b.WriteString(`"` + metadataKey + `":{`)
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := quote(&b, k); err != nil {
				return nil, fmt.Errorf("metadata key: %w", err)
			}
			b.WriteByte(':')
			if err := quote(&b, metadata[k]); err != nil {
				return nil, fmt.Errorf("metadata %q: %w", k, err)
			}
		}
		b.WriteByte('}')
	}
	begin := 0
	for i, e := range entries {
		if b.Len() > lengthBytes+1 {
			b.WriteByte(',')
		}
		if err := quote(&b, e.Name); err != nil {
			return nil, err
		}
		end := begin + sizes[i]
		if end < begin {
			return nil, fmt.Errorf("tensor %q: the file would be larger than this machine can address", e.Name)
		}
		shape := strings.ReplaceAll(strings.Trim(fmt.Sprint(e.Shape), "[]"), " ", ",")
		fmt.Fprintf(&b, `:{"dtype":"%v","shape":[%s],"data_offsets":[%d,%d]}`, e.DType, shape, begin, end)
		begin = end
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	length := b.Len() - lengthBytes
	if length > MaxHeaderBytes {
		return nil, fmt.Errorf("header: %d bytes for %d tensors, the format allows %d", length, len(entries), MaxHeaderBytes)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(length))
	return b.Bytes(), nil
}

func checkName(name string) error {
	switch {
	case name == metadataKey:
		return fmt.Errorf("tensor %q: the name is reserved", name)
	case len(name) > maxNameBytes:
		return fmt.Errorf("tensor %.40q…: name has %d bytes, expected at most %d", name, len(name), maxNameBytes)
	}
	return nil
}

// quote appends s as JSON, with no more escapes than needed.
func quote(b *bytes.Buffer, s string) error {
	if strings.ToValidUTF8(s, "") != s {
		return fmt.Errorf("%q is not valid UTF-8", s)
	}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder's newline
	return nil
}
