package hf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ressa/trainer/checkpoint/safetensors"
)

func openFolder(t *testing.T, dir string) *Folder {
	t.Helper()
	f, err := Open(dir)
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

// entriesOf returns the tensors of a folder as entries.
func entriesOf(t *testing.T, f *Folder) []safetensors.Entry {
	t.Helper()
	var entries []safetensors.Entry
	for _, name := range f.Names() {
		tensor, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, safetensors.NewEntry(name, tensor))
	}
	return entries
}

func TestOpensWhatTransformersWrites(t *testing.T) {
	f := openFolder(t, "testdata/llava")
	if c := f.Config(); c.ModelType != "llava" || !slices.Equal(c.Architectures, []string{"LlavaForConditionalGeneration"}) {
		t.Errorf("config %q %q", c.ModelType, c.Architectures)
	}
	want := Spelling{Original: true}
	if f.Spelling() != want {
		t.Errorf("%v, want %v", f.Spelling(), want)
	}
	keys := golden(t)[want]
	if got := f.Names(); !slices.Equal(got, slices.Sorted(maps.Keys(keys))) {
		t.Errorf("names %q", got)
	}
	for name, key := range keys {
		a, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.Tensor(key)
		if err != nil || a.DType != safetensors.BF16 || !bytes.Equal(a.Data, b.Data) {
			t.Errorf("%s and %s differ: %v", name, key, err)
		}
	}
	if got := f.SideFiles(); !slices.Equal(got, []string{"generation_config.json"}) {
		t.Errorf("side files %q", got)
	}
	if _, err := f.Tensor("nothing"); !errors.Is(err, safetensors.ErrNoTensor) || f.Has("nothing") {
		t.Errorf("error %v, want ErrNoTensor", err)
	}
}

// copyFolder returns a copy of the golden folder that a test may damage.
func copyFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(dir, os.DirFS("testdata/llava")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func edit(t *testing.T, path string, change func(string) string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(b))), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	const first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	replace := func(file, old, new string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, file), func(s string) string {
				if !strings.Contains(s, old) {
					t.Fatalf("%s does not hold %q", file, old)
				}
				return strings.Replace(s, old, new, 1)
			})
		}
	}
	cases := []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string
		is     error
	}{
		{"no config", func(t *testing.T, d string) { remove(t, filepath.Join(d, configFile)) }, configFile, fs.ErrNotExist},
		{"config cut", func(t *testing.T, d string) {
			edit(t, filepath.Join(d, configFile), func(s string) string { return s[:len(s)/2] })
		}, "config.json: invalid JSON", nil},
		{"no model type", replace(configFile, `"model_type": "llava"`, `"kind": "llava"`), "model_type: found nothing", nil},
		{"model type a number", replace(configFile, `"model_type": "llava"`, `"model_type": 7`), "model_type: found 7", nil},
		{"duplicate key", replace(configFile, `"model_type": "llava"`, `"model_type": "llava", "model_type": "llava"`), "appears twice", nil},
		{"architectures", replace(configFile, `"LlavaForConditionalGeneration"`, `3`), "architectures: found", nil},
		{"missing shard", func(t *testing.T, d string) { remove(t, filepath.Join(d, second)) }, "shard " + second, fs.ErrNotExist},
		{"truncated shard", func(t *testing.T, d string) {
			edit(t, filepath.Join(d, second), func(s string) string { return s[:len(s)-5] })
		}, second + ": tensor", nil},
		{"tensor not in its shard", func(t *testing.T, d string) {
			edit(t, filepath.Join(d, indexFile), func(s string) string { return strings.ReplaceAll(s, second, first) })
		}, "into " + first + ", which does not hold it", safetensors.ErrNoTensor},
		{"shard outside", replace(indexFile, `"`+first+`"`, `"../`+first+`"`), `found shard "../` + first, nil},
		{"absolute shard", replace(indexFile, `"`+first+`"`, `"/etc/passwd"`), `found shard "/etc/passwd"`, nil},
		{"shard in a subfolder", replace(indexFile, `"`+first+`"`, `"a/b"`), `found shard "a/b"`, nil},
		{"empty shard name", replace(indexFile, `"`+first+`"`, `""`), `found shard ""`, nil},
		{"shard is a dot", replace(indexFile, `"`+first+`"`, `"."`), `found shard "."`, nil},
		{"no weight map", replace(indexFile, `"weight_map"`, `"weights"`), "weight_map: expected", nil},
		{"shard a number", replace(indexFile, `"`+first+`"`, `1`), "weight_map: expected", nil},
		{"duplicate in the index", replace(indexFile, `"weight_map": {`, `"weight_map": {"x": "`+first+`", "x": "`+first+`",`), "appears twice", nil},
		{"no weights", func(t *testing.T, d string) { remove(t, filepath.Join(d, indexFile)) }, "expected model.safetensors or", ErrNoWeights},
		{"pickled", func(t *testing.T, d string) {
			if err := os.Rename(filepath.Join(d, indexFile), filepath.Join(d, "pytorch_model.bin")); err != nil {
				t.Fatal(err)
			}
		}, "pickled and never read", ErrNoWeights},
		{"empty weights", func(t *testing.T, d string) { put(t, d, weightsFile) }, "found no tensor", ErrNoWeights},
		{"mixed spellings", func(t *testing.T, d string) { put(t, d, weightsFile, u8("lm_head.weight", 1), u8("vision_tower.x", 1)) }, "different spellings", nil},
		{"mask without weight", func(t *testing.T, d string) { put(t, d, masksFile, boolean("nothing", 4)) }, "mask of a weight that is not there", safetensors.ErrNoTensor},
		{"mask of another shape", func(t *testing.T, d string) { put(t, d, masksFile, boolean("lm_head.weight", 4)) }, "found BOOL [4], expected BOOL [8 4]", nil},
		{"mask of another dtype", func(t *testing.T, d string) { put(t, d, masksFile, u8("lm_head.weight", 8, 4)) }, "found U8 [8 4], expected BOOL", nil},
		{"mask twice", func(t *testing.T, d string) {
			put(t, d, masksFile, boolean("lm_head.weight", 8, 4), boolean("language_model.lm_head.weight", 8, 4))
		}, "are of the same weight", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := copyFolder(t)
			c.damage(t, dir)
			f, err := Open(dir)
			if err == nil {
				_ = f.Close()
				t.Fatalf("opened, want an error with %q", c.want)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %q, want the path and %q", err, c.want)
			}
		})
	}
}

// put writes a safetensors file into a folder.
func put(t *testing.T, dir, name string, entries ...safetensors.Entry) {
	t.Helper()
	if _, err := safetensors.Write(context.Background(), filepath.Join(dir, name), entries, nil); err != nil {
		t.Fatal(err)
	}
}

func zeros(name string, d safetensors.DType, shape []int) safetensors.Entry {
	n, _ := safetensors.ByteSize(d, shape)
	return safetensors.NewEntry(name, safetensors.Tensor{DType: d, Shape: shape, Data: make([]byte, n)})
}

func u8(name string, shape ...int) safetensors.Entry { return zeros(name, safetensors.U8, shape) }

func boolean(name string, shape ...int) safetensors.Entry {
	return zeros(name, safetensors.Bool, shape)
}

func TestOtherFamiliesKeepTheirKeys(t *testing.T) {
	dir := copyFolder(t)
	edit(t, filepath.Join(dir, configFile), func(s string) string {
		return strings.Replace(s, `"model_type": "llava"`, `"model_type": "instructblip"`, 1)
	})
	f := openFolder(t, dir)
	if !f.Has("language_model.lm_head.weight") || f.Has("lm_head.weight") || f.Spelling() != (Spelling{}) {
		t.Errorf("keys were changed: %q", f.Names()[:3])
	}
}

// A cache of downloads links its files to blobs outside of the folder.
func TestLinkedFilesAreRead(t *testing.T) {
	dir, real := copyFolder(t), t.TempDir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		from, to := filepath.Join(dir, e.Name()), filepath.Join(real, e.Name())
		if err := errors.Join(os.Rename(from, to), os.Symlink(to, from)); err != nil {
			t.Fatal(err)
		}
	}
	if f := openFolder(t, dir); len(f.SideFiles()) != 1 || len(f.Names()) == 0 {
		t.Errorf("found %q and %d tensors", f.SideFiles(), len(f.Names()))
	}
}

func FuzzIndex(f *testing.F) {
	for _, s := range []string{`{}`, `{"weight_map":{"a":"model-1.safetensors"}}`, `{"weight_map":{"a":"../x"}}`, `{"weight_map":{"a":null}}`, `{"Weight_Map":{"a":"b"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), indexFile)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		weights, err := parseIndex(path)
		if err != nil {
			return
		}
		for name, shard := range weights {
			if filepath.Dir(filepath.Join("/folder", shard)) != "/folder" || shard == "" {
				t.Fatalf("tensor %q: shard %q leaves the folder", name, shard)
			}
		}
		if !json.Valid(data) {
			t.Fatal("accepted what is not JSON")
		}
	})
}
