package hf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/trainer/checkpoint/safetensors"
)

// specOf returns the spec that writes the golden folder again.
func specOf(t *testing.T, f *Folder) Spec {
	t.Helper()
	return Spec{Config: f.Config().Raw, Weights: entriesOf(t, f), Spelling: f.Spelling(), SideFrom: f.Dir()}
}

func hashOf(t *testing.T, f *Folder) string {
	t.Helper()
	h, err := f.Hash(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestHashIsOfTheModelAlone(t *testing.T) {
	source := openFolder(t, "testdata/llava")
	want := hashOf(t, source)
	if got, err := Hash(context.Background(), entriesOf(t, source), nil); err != nil || got != want {
		t.Errorf("Hash of entries %s, %v, want %s", got, err, want)
	}
	for s, keys := range golden(t) {
		for _, limit := range []int64{0, 1, 500} {
			spec := specOf(t, source)
			spec.Spelling, spec.ShardBytes = s, limit
			dir := filepath.Join(t.TempDir(), "out")
			if err := Write(context.Background(), dir, spec); err != nil {
				t.Fatal(err)
			}
			f := openFolder(t, dir)
			if got := hashOf(t, f); got != want || f.Spelling() != s {
				t.Errorf("%v, shards of %d: hash %s, %v, want %s", s, limit, got, f.Spelling(), want)
			}
			var written []string
			for _, file := range f.files {
				written = append(written, file.Names()...)
				if file.Metadata()["format"] != "pt" {
					t.Errorf("%s: metadata %v", file.Path(), file.Metadata())
				}
			}
			slices.Sort(written)
			var expected []string
			for _, k := range keys {
				expected = append(expected, k)
			}
			slices.Sort(expected)
			if !slices.Equal(written, expected) {
				t.Errorf("%v: keys %q", s, written)
			}
		}
	}
}

func TestHashSeesEveryChange(t *testing.T) {
	base := func() []safetensors.Entry {
		return []safetensors.Entry{u8("a", 2, 3), u8("b", 6), zeros("c", safetensors.F32, []int{2})}
	}
	flipped := zeros("a", safetensors.U8, []int{2, 3})
	flipped.Write = func(w io.Writer) error { _, err := w.Write([]byte{0, 0, 0, 0, 0, 1}); return err }
	variants := map[string]func() ([]safetensors.Entry, []safetensors.Entry){
		"base": func() ([]safetensors.Entry, []safetensors.Entry) { return base(), nil },
		"name": func() ([]safetensors.Entry, []safetensors.Entry) { e := base(); e[0].Name = "A"; return e, nil },
		"shape": func() ([]safetensors.Entry, []safetensors.Entry) {
			e := base()
			e[0].Shape = []int{3, 2}
			return e, nil
		},
		"dtype": func() ([]safetensors.Entry, []safetensors.Entry) {
			e := base()
			e[0].DType = safetensors.I8
			return e, nil
		},
		"bytes": func() ([]safetensors.Entry, []safetensors.Entry) { return append(base()[1:], flipped), nil },
		"fewer": func() ([]safetensors.Entry, []safetensors.Entry) { return base()[1:], nil },
		"mask":  func() ([]safetensors.Entry, []safetensors.Entry) { return base(), []safetensors.Entry{boolean("b", 6)} },
		"other mask": func() ([]safetensors.Entry, []safetensors.Entry) {
			return base(), []safetensors.Entry{boolean("a", 2, 3)}
		},
		"mask, weight": func() ([]safetensors.Entry, []safetensors.Entry) { return append(base(), boolean("d", 6)), nil },
	}
	seen := map[string]string{}
	for name, variant := range variants {
		weights, masks := variant()
		h, err := Hash(context.Background(), weights, masks)
		if err != nil {
			t.Fatal(err)
		}
		if other, again := seen[h]; again {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		seen[h] = name
	}
	reversed := base()
	slices.Reverse(reversed)
	if h, err := Hash(context.Background(), reversed, nil); err != nil || seen[h] != "base" {
		t.Errorf("the hash depends on the order: %v", err)
	}
	if _, err := Hash(context.Background(), append(base(), u8("a", 1)), nil); err == nil {
		t.Error("a tensor given twice was hashed")
	}
}

func TestWriteShardsAndIndex(t *testing.T) {
	source := openFolder(t, "testdata/llava")
	spec := specOf(t, source)
	spec.ShardBytes = 500
	dir := filepath.Join(t.TempDir(), "out")
	if err := Write(context.Background(), dir, spec); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, indexFile))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Metadata struct {
			Total int `json:"total_size"`
		} `json:"metadata"`
		Weights map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	total, f := 0, openFolder(t, dir)
	for _, file := range f.files {
		size := 0
		for _, key := range file.Names() {
			tensor, err := file.Tensor(key)
			if err != nil {
				t.Fatal(err)
			}
			size += len(tensor.Data)
			if index.Weights[key] != filepath.Base(file.Path()) {
				t.Errorf("index puts %s into %s", key, index.Weights[key])
			}
		}
		if size > 500 && len(file.Names()) > 1 {
			t.Errorf("%s holds %d bytes", file.Path(), size)
		}
		total += size
	}
	if len(f.files) < 2 || total != index.Metadata.Total {
		t.Errorf("%d shards, %d bytes, index says %d", len(f.files), total, index.Metadata.Total)
	}
	if raw := f.Config().Raw; !bytes.Equal(raw, source.Config().Raw) || !slices.Equal(f.SideFiles(), source.SideFiles()) {
		t.Error("config.json or side files were not copied as they are")
	}
}

func TestMasksRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	source := openFolder(t, "testdata/llava")
	spec := specOf(t, source)
	for _, cols := range []int{1, 63, 64, 65, 130} {
		spec.Weights = append(spec.Weights, u8("extra."+strings.Repeat("x", cols), 3, cols))
	}
	want := map[string][]uint64{}
	for _, e := range spec.Weights {
		if len(e.Shape) < 2 {
			continue
		}
		rows, cols := matrix(e.Shape)
		words := make([]uint64, rows*kernels.MaskWords(cols))
		for r := range rows {
			for c := range cols {
				words[r*kernels.MaskWords(cols)+c/64] |= uint64(rng.IntN(2)) << (c % 64)
			}
		}
		want[e.Name] = words
		m, err := MaskEntry(e.Name, e.Shape, words)
		if err != nil {
			t.Fatal(err)
		}
		spec.Masks = append(spec.Masks, m)
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := Write(context.Background(), dir, spec); err != nil {
		t.Fatal(err)
	}
	f := openFolder(t, dir)
	if got := f.MaskNames(); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("masks of %q", got)
	}
	for name, words := range want {
		got, rows, cols, err := f.Mask(name)
		if err != nil || !slices.Equal(got, words) || len(got) != rows*kernels.MaskWords(cols) {
			t.Errorf("mask of %s changed: %v", name, err)
		}
	}
	if _, _, _, err := f.Mask("model.language_model.norm.weight"); !errors.Is(err, safetensors.ErrNoTensor) {
		t.Errorf("error %v, want ErrNoTensor", err)
	}
	got, err := f.BaseHash(context.Background())
	expected, err2 := Hash(context.Background(), spec.Weights, spec.Masks)
	if err != nil || err2 != nil || got != expected || got == hashOf(t, f) {
		t.Errorf("base hash %s %v, want %s %v, not that of the weights", got, err, expected, err2)
	}
	// Keys of masks are spelt as those of the weights.
	for _, key := range f.files[len(f.files)-1].Names() {
		if key == "lm_head.weight" {
			t.Error("masks have another spelling than the weights")
		}
	}
}

func TestMaskBytesAreChecked(t *testing.T) {
	dir := copyFolder(t)
	bad := boolean("lm_head.weight", 8, 4)
	bad.Write = func(w io.Writer) error { _, err := w.Write(bytes.Repeat([]byte{1, 2}, 16)); return err }
	put(t, dir, masksFile, bad)
	if _, _, _, err := openFolder(t, dir).Mask("lm_head.weight"); err == nil || !strings.Contains(err.Error(), "element 1: found byte 2, expected 0 or 1") {
		t.Errorf("error %v", err)
	}
	if _, err := MaskEntry("w", []int{2, 65}, make([]uint64, 3)); err == nil || !strings.Contains(err.Error(), "expected 4 for shape [2 65]") {
		t.Errorf("error %v", err)
	}
}

func TestWriteRefusesAndLeavesNothing(t *testing.T) {
	source := openFolder(t, "testdata/llava")
	broken := errors.New("broken source")
	cases := []struct {
		name   string
		change func(*Spec)
		want   string
	}{
		{"config", func(s *Spec) { s.Config = []byte(`{`) }, "config.json: invalid JSON"},
		{"no weights", func(s *Spec) { s.Weights = nil }, "no weights"},
		{"weight twice", func(s *Spec) { s.Weights = append(s.Weights, s.Weights[0]) }, "given twice"},
		{"weight twice, in shards", func(s *Spec) { s.ShardBytes = 1; s.Weights = append(s.Weights, s.Weights[0]) }, "given twice"},
		{"source", func(s *Spec) { s.Weights[9].Write = func(io.Writer) error { return broken } }, "broken source"},
		{"source, in shards", func(s *Spec) { s.ShardBytes = 1; s.Weights[9].Write = func(io.Writer) error { return broken } }, "broken source"},
		{"mask of nothing", func(s *Spec) { s.Masks = []safetensors.Entry{boolean("x", 1)} }, `mask of "x"`},
		{"mask's shape", func(s *Spec) { s.Masks = []safetensors.Entry{boolean("lm_head.weight", 4, 8)} }, "expected BOOL [8 4]"},
		{"side folder", func(s *Spec) { s.SideFrom = "testdata/none" }, "testdata/none"},
		{"fill", func(s *Spec) { s.Fill = func(context.Context, string) error { return broken } }, "broken source"},
	}
	for _, c := range cases {
		for _, overwrite := range []bool{false, true} {
			parent := t.TempDir()
			dir := filepath.Join(parent, "out")
			var before string
			if overwrite {
				if err := Write(context.Background(), dir, specOf(t, source)); err != nil {
					t.Fatal(err)
				}
				before = hashOf(t, openFolder(t, dir))
			}
			spec := specOf(t, source)
			spec.Overwrite = overwrite
			c.change(&spec)
			if err := Write(context.Background(), dir, spec); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: error %v, want the path and %q", c.name, err, c.want)
			}
			if left := list(t, parent); overwrite && !slices.Equal(left, []string{"out"}) || !overwrite && len(left) != 0 {
				t.Errorf("%s: left %q", c.name, left)
			}
			if overwrite && hashOf(t, openFolder(t, dir)) != before {
				t.Errorf("%s: the old checkpoint changed", c.name)
			}
		}
	}
}

func TestOverwrite(t *testing.T) {
	source := openFolder(t, "testdata/llava")
	parent := t.TempDir()
	dir := filepath.Join(parent, "out")
	spec := specOf(t, source)
	spec.ShardBytes = 500
	if err := Write(context.Background(), dir, spec); err != nil {
		t.Fatal(err)
	}
	spec.ShardBytes = 0
	if err := Write(context.Background(), dir, spec); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v, want a refusal", err)
	}
	// A folder may be overwritten from its own mapped tensors.
	self := openFolder(t, dir)
	spec = specOf(t, self)
	spec.Overwrite = true
	spec.Fill = func(_ context.Context, d string) error {
		return os.WriteFile(filepath.Join(d, "extra"), nil, 0o600)
	}
	if err := Write(context.Background(), dir, spec); err != nil {
		t.Fatal(err)
	}
	if got := list(t, dir); !slices.Equal(got, []string{"config.json", "extra", "generation_config.json", "model.safetensors"}) {
		t.Errorf("files %q", got)
	}
	if hashOf(t, openFolder(t, dir)) != hashOf(t, source) || len(list(t, parent)) != 1 {
		t.Errorf("another model, or leftovers: %q", list(t, parent))
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "diary"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(context.Background(), home, spec); err == nil || !strings.Contains(err.Error(), "without config.json") {
		t.Errorf("error %v, want a refusal", err)
	}
}

func TestWriteAndHashStopWithTheContext(t *testing.T) {
	source := openFolder(t, "testdata/llava")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	parent := t.TempDir()
	if err := Write(ctx, filepath.Join(parent, "out"), specOf(t, source)); !errors.Is(err, context.Canceled) || len(list(t, parent)) != 0 {
		t.Errorf("error %v, left %q", err, list(t, parent))
	}
	if _, err := source.Hash(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
