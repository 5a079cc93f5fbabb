package snapshot

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
	"time"
)

func file(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	m := Meta{Index: 7, Term: 2, At: time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC), Ressa: "v1", Coordinator: "c1"}
	if err := Write(&b, m, []byte(`{"v":1}`)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWriteAndRead(t *testing.T) {
	m, state, err := Read(bytes.NewReader(file(t)))
	if err != nil || string(state) != `{"v":1}` || m.Index != 7 || m.Term != 2 || m.At.Nanosecond() != 5 || m.Format != Format || m.Bytes != 7 || len(m.SHA256) != 64 {
		t.Errorf("%+v, %q, %v", m, state, err)
	}
}

// Whatever bit is changed and wherever a file ends, it is refused, or it reads as
// what was written (gzip's header says things that nobody needs).
func TestEveryDamageShows(t *testing.T) {
	whole := file(t)
	for n := range whole {
		if _, _, err := Read(bytes.NewReader(whole[:n])); !errors.Is(err, ErrDamaged) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if m, state, err := Read(bytes.NewReader(b)); err != nil && !errors.Is(err, ErrDamaged) || err == nil && (string(state) != `{"v":1}` || m.Index != 7) {
				t.Fatalf("byte %d, bit %d: %+v, %q, %v", i, bit, m, state, err)
			}
		}
	}
	if _, _, err := Read(bytes.NewReader(append(bytes.Clone(whole), 0))); !errors.Is(err, ErrDamaged) {
		t.Errorf("something behind it: %v", err)
	}
}

// pack makes an archive of anything.
func pack(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	a := tar.NewWriter(z)
	for i := 0; i < len(files); i += 2 {
		if err := a.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(a.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadRefuses(t *testing.T) {
	for want, raw := range map[string][]byte{
		"ressa operator snapshot save wrote":          []byte("name: demo\n"),
		`found "x" of 1 bytes, want the file meta.js`: pack(t, "x", "y"),
		"found format 2, want 1":                      pack(t, "meta.json", `{"format":2,"shards":3}`),
		"found format 0, want 1":                      pack(t, "meta.json", `{}`),
		`unknown field "x"`:                           pack(t, "meta.json", `{"format":1,"x":1}`),
		"state.json: EOF":                             pack(t, "meta.json", `{"format":1}`),
		"SHA256SUMS: EOF":                             pack(t, "meta.json", `{"format":1}`, "state.json", "{}"),
		"checksums are of other contents":             pack(t, "meta.json", `{"format":1}`, "state.json", "{}", "SHA256SUMS", ""),
		"more than meta.json, state.json":             pack(t, "meta.json", `{"format":1}`, "state.json", "{}", "SHA256SUMS", "", "x", ""),
		"found index 18446744073709551615 and term":   pack(t, "meta.json", `{"format":1,"index":18446744073709551615}`),
		"meta.json: invalid character":                pack(t, "meta.json", `x`),
	} {
		if _, _, err := Read(bytes.NewReader(raw)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) {
			t.Errorf("found %v, want %q", err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file(f))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, _, err := Read(bytes.NewReader(raw)); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}
