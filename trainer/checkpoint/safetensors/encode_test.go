package safetensors

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRoundTripInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	metadata := map[string]string{"z": "1", "format": "pt", "a": "\u2028<"}
	for range 50 {
		var entries []Entry
		want := map[string]Tensor{}
		for i := range rng.IntN(12) {
			d := DType(rng.IntN(int(dtypeCount)))
			shape := make([]int, rng.IntN(4))
			for k := range shape {
				shape[k] = rng.IntN(5)
			}
			size, err := ByteSize(d, shape)
			if err != nil {
				t.Fatal(err)
			}
			data := make([]byte, size)
			for k := range data {
				data[k] = byte(rng.Uint32())
			}
			name := strings.Repeat("é", i) + "x"
			want[name] = Tensor{DType: d, Shape: shape, Data: data}
			entries = append(entries, NewEntry(name, want[name]))
		}
		path := filepath.Join(t.TempDir(), "m.safetensors")
		written, err := Write(context.Background(), path, entries, metadata)
		if err != nil {
			t.Fatal(err)
		}
		rng.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		var again bytes.Buffer
		if _, err := Encode(context.Background(), &again, entries, metadata); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(file)
		if !bytes.Equal(file, again.Bytes()) {
			t.Fatal("bytes depend on the order of the entries")
		}
		if written.SHA256 != hex.EncodeToString(sum[:]) || written.Bytes != int64(len(file)) {
			t.Fatalf("%+v is not what was written: %x, %d bytes", written, sum, len(file))
		}
		f := openFile(t, path)
		if got, err := f.SHA256(context.Background()); err != nil || got != written.SHA256 || f.Size() != written.Bytes {
			t.Fatalf("SHA256 %s %v, size %d", got, err, f.Size())
		}
		if f.Metadata()["a"] != metadata["a"] || len(f.Names()) != len(want) || f.header.data%8 != 0 {
			t.Fatalf("metadata, names or alignment of the header lost")
		}
		for name, w := range want {
			got, err := f.Tensor(name)
			if err != nil || got.DType != w.DType || !slices.Equal(got.Shape, w.Shape) || !bytes.Equal(got.Data, w.Data) {
				t.Fatalf("%s: %v %v, want %v", name, got, err, w)
			}
			if (f.header.data+f.header.spans[name].begin)%w.DType.Size() != 0 && w.DType != C64 {
				t.Fatalf("%s: %v is not aligned", name, w.DType)
			}
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	good := Entry{Name: "w", DType: U8, Shape: []int{2}, Write: func(w io.Writer) error {
		_, err := w.Write([]byte{1, 2})
		return err
	}}
	with := func(change func(e *Entry)) Entry { e := good; change(&e); return e }
	gives := func(n int) Entry {
		return with(func(e *Entry) { e.Write = func(w io.Writer) error { _, err := w.Write(make([]byte, n)); return err } })
	}
	broken := errors.New("broken source")
	cases := []struct {
		name     string
		entries  []Entry
		metadata map[string]string
		want     string
	}{
		{"duplicate", []Entry{good, good}, nil, `tensor "w": given twice`},
		{"reserved", []Entry{with(func(e *Entry) { e.Name = "__metadata__" })}, nil, "reserved"},
		{"name not UTF-8", []Entry{with(func(e *Entry) { e.Name = "\xff" })}, nil, "not valid UTF-8"},
		{"metadata not UTF-8", []Entry{good}, map[string]string{"a": "\xff"}, `metadata "a"`},
		{"unknown dtype", []Entry{with(func(e *Entry) { e.DType = dtypeCount })}, nil, "unknown dtype(17)"},
		{"negative", []Entry{with(func(e *Entry) { e.Shape = []int{-1} })}, nil, "negative dimension"},
		{"overflow", []Entry{with(func(e *Entry) { e.Shape = []int{1 << 40, 1 << 40} })}, nil, "overflows"},
		{"too few bytes", []Entry{gives(1)}, nil, `tensor "w": its source gave 1 bytes, expected 2 for U8 [2]`},
		{"too many bytes", []Entry{gives(3)}, nil, `tensor "w": its source gives more`},
		{"source fails", []Entry{with(func(e *Entry) { e.Write = func(io.Writer) error { return broken } })}, nil, "broken source"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Write(context.Background(), filepath.Join(dir, "m.safetensors"), c.entries, c.metadata)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWriteStopsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	endless := Entry{Name: "w", DType: U8, Shape: []int{1 << 40}, Write: func(w io.Writer) error {
		for {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return err
			}
			if calls++; calls == 3 {
				cancel()
			}
		}
	}}
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(ctx, path, []Entry{endless}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want cancelled", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "before" {
		t.Errorf("the file that was there became %q", b)
	}
}
