package safetensors

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// raw builds a file from a header as written and a number of data bytes.
func raw(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for i := range data {
		b = append(b, byte(i))
	}
	return b
}

func writeTemp(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenRefuses(t *testing.T) {
	long := binary.LittleEndian.AppendUint64(nil, MaxHeaderBytes+1)
	cases := []struct {
		name string
		file []byte
		want string
	}{
		{"empty file", nil, "truncated: found 0 bytes"},
		{"cut length", []byte{1, 2, 3}, "truncated: found 3 bytes"},
		{"huge header", append(long, '{'), "header length: found 100000001, expected at most 100000000"},
		{"header past the end", raw(`{}`, 0)[:9], "truncated: header length says 2 bytes, found 1"},
		{"no header", raw(``, 0), "begin with '{'"},
		{"leading space", raw(` {}`, 0), "begin with '{'"},
		{"not JSON", raw(`{"a":}`, 0), "invalid JSON"},
		{"not UTF-8", raw("{\"\xff\":1}", 0), "not valid UTF-8"},
		{"duplicate name", raw(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), `key "w" appears twice`},
		{"duplicate field", raw(`{"w":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 1), `key "dtype" appears twice`},
		{"tensor is a number", raw(`{"w":1}`, 0), `tensor "w": expected an object`},
		{"tensor is null", raw(`{"w":null}`, 0), `tensor "w": expected an object`},
		{"unknown field", raw(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"extra":1}}`, 1), `unknown field "extra"`},
		{"field in capitals", raw(`{"w":{"DTYPE":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), `unknown field "DTYPE"`},
		{"no dtype", raw(`{"w":{"shape":[1],"data_offsets":[0,1]}}`, 1), "dtype: found nothing"},
		{"unknown dtype", raw(`{"w":{"dtype":"Q4","shape":[1],"data_offsets":[0,1]}}`, 1), `unknown dtype "Q4"`},
		{"no shape", raw(`{"w":{"dtype":"U8","data_offsets":[0,1]}}`, 1), "shape: found nothing"},
		{"null shape", raw(`{"w":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}`, 1), "shape: found null"},
		{"null dimension", raw(`{"w":{"dtype":"U8","shape":[null],"data_offsets":[0,0]}}`, 0), "shape: found [null]"},
		{"negative dimension", raw(`{"w":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1), "shape: found [-1]"},
		{"fraction", raw(`{"w":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1), "shape: found [1.5]"},
		{"dimension too large", raw(`{"w":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1]}}`, 1), "shape: found [9999"},
		{"too many dimensions", raw(`{"w":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}`, 1), "found 17 dimensions"},
		{"overflow", raw(`{"w":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), "overflows"},
		{"one offset", raw(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`, 1), "expected [begin, end]"},
		{"offsets swapped", raw(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 1), "expected [begin, end]"},
		{"bytes of another shape", raw(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4), `tensor "w": data_offsets span 4 bytes, expected 8 for F32 [2]`},
		{"data cut", raw(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 7), `tensor "w": truncated: data ends at byte 8, found 7`},
		{"trailing bytes", raw(`{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 3), "found 3 bytes of data, expected 2"},
		{"gap", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3), `tensor "b": data begins at 2, expected 1`},
		{"overlap", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), `tensor "b": data begins at 1, inside`},
		{"metadata not strings", raw(`{"__metadata__":{"a":1}}`, 0), "expected an object of strings"},
		{"metadata null", raw(`{"__metadata__":{"a":null}}`, 0), "found null"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := writeTemp(t, c.file)
			f, err := Open(path)
			if err == nil {
				_ = f.Close()
				t.Fatalf("opened, want an error with %q", c.want)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q, want the path and %q", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error has more than one line: %q", err)
			}
		})
	}
}

func TestOpenAccepts(t *testing.T) {
	f := openFile(t, writeTemp(t, raw(`{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"z":{"dtype":"F32","shape":[0,3],"data_offsets":[1,1]},"a":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]}}   `, 3)))
	b, err := f.Tensor("b")
	if err != nil || string(b.Data) != "\x01\x02" || cap(b.Data) != 2 {
		t.Errorf("b is %v, %v", b, err)
	}
	if z, err := f.Tensor("z"); err != nil || z.Len() != 0 {
		t.Errorf("z is %v, %v", z, err)
	}
	if _, err := f.Tensor("c"); !errors.Is(err, ErrNoTensor) {
		t.Errorf("error %v, want ErrNoTensor", err)
	}
	if len(f.Metadata()) != 0 || !f.Has("a") || f.Has("c") {
		t.Error("metadata or Has is wrong")
	}
}

func TestOpenNeedsARegularFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("error %v for a directory", err)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v for no file", err)
	}
}

func TestClosedFile(t *testing.T) {
	f, err := Open("testdata/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Tensor("f32"); !errors.Is(err, ErrClosed) {
		t.Errorf("Tensor: %v, want ErrClosed", err)
	}
	if _, err := f.SHA256(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("SHA256: %v, want ErrClosed", err)
	}
}

func FuzzOpen(f *testing.F) {
	golden, err := os.ReadFile("testdata/golden.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(nil))
	f.Add(raw(`{}`, 0))
	f.Add(raw(`{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`, 8))
	f.Add(raw(`{"w":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0))
	f.Add(raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHeader(data)
		if err != nil {
			return
		}
		// What is accepted can be read whole: every byte belongs to one tensor.
		total := 0
		for name, s := range h.spans {
			want, err := ByteSize(s.dtype, s.shape)
			if err != nil || want != len(data[h.data+s.begin:h.data+s.end]) {
				t.Fatalf("tensor %q: %d bytes, %v", name, want, err)
			}
			total += want
		}
		if h.data+total != len(data) {
			t.Fatalf("%d bytes of %d belong to tensors", total, len(data)-h.data)
		}
	})
}
