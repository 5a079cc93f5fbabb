package adapter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/kernels"
)

func TestReadWhatPEFTWrote(t *testing.T) {
	factors, err := ReadPEFT("testdata/peft")
	if err != nil {
		t.Fatal(err)
	}
	want := []Factors{
		{Module: "model.language_model.layers.0.mlp.down_proj", Rank: 4, Alpha: 8, In: 70, Out: 8},
		{Module: "model.language_model.layers.0.mlp.up_proj", Rank: 2, Alpha: 3, In: 8, Out: 10},
		{Module: "model.multi_modal_projector.linear_1", Rank: 4, Alpha: 8, In: 6, Out: 8},
	}
	if len(factors) != len(want) {
		t.Fatalf("%d modules, want %d", len(factors), len(want))
	}
	for i, w := range want {
		got := factors[i]
		if got.Module != w.Module || got.Rank != w.Rank || got.Alpha != w.Alpha || got.In != w.In || got.Out != w.Out {
			t.Errorf("module %d is %+v, want %+v", i, got, w)
		}
		for name, v := range map[string][]float32{"A": got.A, "B": got.B} {
			for k, x := range v {
				if x != float32(k)/8 {
					t.Fatalf("%s of %s: element %d is %v", name, got.Module, k, x)
				}
			}
		}
		if len(got.A) != w.Rank*w.In || len(got.B) != w.Out*w.Rank {
			t.Errorf("%s has %d and %d elements", w.Module, len(got.A), len(got.B))
		}
	}
}

// part returns a trained tower and its part.
func part(t *testing.T, o Options) (*bench, Part) {
	b := newBench(t, kernels.F32)
	a := b.attach(o)
	return b, Part{a, b.lane(a)}
}

func TestPEFTRoundTrip(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	b, p := part(t, options(SparseLoRA))
	first, err := WritePEFT(ctx, dir, "base", []Part{p})
	if err != nil {
		t.Fatal(err)
	}
	trained := b.floats(p.Lane.Values)
	factors, err := ReadPEFT(dir)
	if err != nil {
		t.Fatal(err)
	}
	b.stream.Fill(p.Lane.Values, 0)
	if err := LoadPEFT(ctx, factors, []Part{p}); err != nil {
		t.Fatal(err)
	}
	if !equal(b.floats(p.Lane.Values), trained) {
		t.Error("values differ after writing and reading")
	}
	again, err := WritePEFT(ctx, t.TempDir(), "base", []Part{p})
	if err != nil || again != first {
		t.Errorf("written again: %+v, %v, want %+v", again, err, first)
	}
}

func TestLoadPEFTRefuses(t *testing.T) {
	ctx := context.Background()
	change := func(f func(*Options)) Options {
		o := options(SparseLoRA)
		f(&o)
		return o
	}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{change(func(o *Options) { o.Alpha = 9 }), "scale of model.multi_modal_projector.linear_1"},
		{change(func(o *Options) { o.Rank = 3 }), "expected rank 3"},
		{change(func(o *Options) { o.Projector = false }), "which the job does not train"},
		{options(Masked), "masked takes no factors"},
	} {
		dir := t.TempDir()
		_, p := part(t, options(SparseLoRA))
		if _, err := WritePEFT(ctx, dir, "", []Part{p}); err != nil {
			t.Fatal(err)
		}
		factors, err := ReadPEFT(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, other := part(t, c.o)
		if err := LoadPEFT(ctx, factors, []Part{other}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.o, err, c.want)
		}
	}
}

func TestReadPEFTRefuses(t *testing.T) {
	good, err := os.ReadFile("testdata/peft/adapter_config.json")
	if err != nil {
		t.Fatal(err)
	}
	weights, err := os.ReadFile("testdata/peft/adapter_model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new string }{
		{`"LORA"`, `"IA3"`},
		{`"use_dora": false`, `"use_dora": true`},
		{`"bias": "none"`, `"bias": "all"`},
		{`"r": 4`, `"r": 5`},
		{`"up_proj": 2`, `"(": 2`},
		{`"r": 4`, `"r": 4, "r": 4`},
		{`"modules_to_save": null`, `"modules_to_save": ["head"]`},
	} {
		dir := t.TempDir()
		text := strings.Replace(string(good), c.old, c.new, 1)
		if text == string(good) {
			t.Fatalf("%s is not in the configuration", c.old)
		}
		for name, data := range map[string][]byte{peftConfigFile: []byte(text), peftWeightsFile: weights} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ReadPEFT(dir); err == nil {
			t.Errorf("read with %s for %s", c.new, c.old)
		}
	}
	if _, err := ReadPEFT(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty folder gives %v", err)
	}
}

func FuzzPEFTConfig(f *testing.F) {
	good, err := os.ReadFile("testdata/peft/adapter_config.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"peft_type":"LORA","r":-1,"rank_pattern":{"a|b":2}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parsePEFTConfig(data)
		if err != nil {
			return
		}
		if lookup, err := c.lookup(); err == nil {
			_, _, _ = lookup("model.x") // must not panic
		}
	})
}
