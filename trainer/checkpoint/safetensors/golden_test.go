package safetensors

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"
)

// The Python library wrote golden.safetensors; testdata/make_golden.py is how.
func TestReadsWhatPythonWrites(t *testing.T) {
	torch := map[string]DType{
		"float64": F64, "float32": F32, "bfloat16": BF16, "float16": F16, "float8_e4m3fn": F8E4M3,
		"float8_e5m2": F8E5M2, "int64": I64, "int32": I32, "int16": I16, "int8": I8, "uint8": U8, "bool": Bool,
	}
	text, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]struct {
		DType string `json:"dtype"`
		Shape []int  `json:"shape"`
		Hex   string `json:"hex"`
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, "testdata/golden.safetensors")
	if got := f.Names(); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Fatalf("names %q, want %q", got, slices.Sorted(maps.Keys(want)))
	}
	if m := f.Metadata(); len(m) != 1 || m["format"] != "pt" {
		t.Errorf("metadata %v, want format pt", m)
	}
	for name, w := range want {
		got, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if got.DType != torch[w.DType] || !slices.Equal(got.Shape, w.Shape) || hex.EncodeToString(got.Data) != w.Hex {
			t.Errorf("%s: %v %v %x, want %s %v %s", name, got.DType, got.Shape, got.Data, w.DType, w.Shape, w.Hex)
		}
	}
}

func TestWritesTheBytesOfPython(t *testing.T) {
	f := openFile(t, "testdata/golden.safetensors")
	var out bytes.Buffer
	if _, err := Encode(context.Background(), &out, entriesOf(t, f), f.Metadata()); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("bytes differ from those of the Python library:\n%.700q\nwant\n%.700q", out.Bytes(), want)
	}
}

func openFile(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func entriesOf(t *testing.T, f *File) []Entry {
	t.Helper()
	var entries []Entry
	for _, name := range f.Names() {
		tensor, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, NewEntry(name, tensor))
	}
	return entries
}
