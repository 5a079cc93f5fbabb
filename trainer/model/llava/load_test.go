package llava_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
)

// rewrite writes the tiny checkpoint anew, each tensor as change returns it; nil
// data leaves it out.
func rewrite(t *testing.T, s hf.Spelling, change func(name string, x safetensors.Tensor) safetensors.Tensor) string {
	t.Helper()
	f, err := hf.Open("testdata/tiny")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	spec := hf.Spec{Config: f.Config().Raw, Spelling: s}
	for _, n := range f.Names() {
		x, err := f.Tensor(n)
		if err != nil {
			t.Fatal(err)
		}
		if x = change(n, x); x.Data != nil {
			spec.Weights = append(spec.Weights, safetensors.NewEntry(n, x))
		}
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := hf.Write(context.Background(), dir, spec); err != nil {
		t.Fatal(err)
	}
	return dir
}

// narrow returns x with every float32 as its upper 16 bits (bfloat16, cut) or
// as binary16 of the value cut to 10 bits of fraction.
func narrow(x safetensors.Tensor, d safetensors.DType) safetensors.Tensor {
	out := make([]byte, len(x.Data)/2)
	for i, v := range kernels.DecodeF32(x.Data) {
		bits := math.Float32bits(v)
		h := uint16(bits >> 16)
		if d == safetensors.F16 {
			exponent := int(bits>>23&0xFF) - 127 + 15
			h = uint16(bits >> 16 & 0x8000)
			if exponent > 0 && exponent < 31 {
				h |= uint16(exponent)<<10 | uint16(bits>>13&0x3FF)
			}
		}
		binary.LittleEndian.PutUint16(out[2*i:], h)
	}
	return safetensors.Tensor{DType: d, Shape: x.Shape, Data: out}
}

// widened returns the float32 values that narrow leaves.
func widened(x safetensors.Tensor, d safetensors.DType) safetensors.Tensor {
	out := make([]byte, len(x.Data))
	for i, v := range kernels.DecodeF32(x.Data) {
		bits := math.Float32bits(v)
		if d == safetensors.BF16 {
			bits &= 0xFFFF_0000
		} else if bits &= 0xFFFF_E000; int(bits>>23&0xFF)-127+15 <= 0 {
			bits &= 0x8000_0000
		}
		binary.LittleEndian.PutUint32(out[4*i:], bits)
	}
	return safetensors.Tensor{DType: safetensors.F32, Shape: x.Shape, Data: out}
}

func open(t *testing.T, d kernels.Device, dir string) *llava.Model {
	t.Helper()
	m, err := llava.Open(context.Background(), d, dir, llava.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// A checkpoint in half the bits computes what its values in float32 do, and
// every spelling of the keys loads the same model.
func TestStorageAndSpelling(t *testing.T) {
	g := openGoldens(t)
	hidden := func(dir string) ([]float32, kernels.DType) {
		d := reference.Open()
		m := open(t, d, dir)
		r := newRig(t, d, m)
		out, _ := r.forward(g.batch(m.Config), model.Dense, false)
		return r.read(out), m.Params()[0].Value.DType
	}
	for _, d := range []safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F16} {
		stays := func(_ string, x safetensors.Tensor) safetensors.Tensor { return x }
		stored, wide := stays, stays
		if d != safetensors.F32 {
			stored = func(_ string, x safetensors.Tensor) safetensors.Tensor { return narrow(x, d) }
			wide = func(_ string, x safetensors.Tensor) safetensors.Tensor { return widened(x, d) }
		}
		want, _ := hidden(rewrite(t, hf.Spelling{}, wide))
		for _, s := range []hf.Spelling{{}, {Original: true}, {VisionModel: true}, {Original: true, VisionModel: true}} {
			got, dtype := hidden(rewrite(t, s, stored))
			if !sameBits(got, want) {
				t.Errorf("%v, %v: differs from the same values in float32", d, s)
			}
			if expected := map[bool]kernels.DType{true: kernels.BF16}[d == safetensors.BF16]; dtype != expected {
				t.Errorf("%v: held as %v, want %v", d, dtype, expected)
			}
		}
	}
}

// The parameters are all tensors of the checkpoint, each under its name.
func TestParamsAreTheWholeCheckpoint(t *testing.T) {
	d := reference.Open()
	m := loadTiny(t, d, llava.Options{})
	f := openFile(t, "testdata/tiny/model.safetensors")
	r := newRig(t, d, m)
	var names []string
	for _, p := range m.Params() {
		names = append(names, p.Name)
		x, err := f.Tensor(hf.Spelling{Original: true}.Spell(p.Name))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(x.Shape, p.Shape) || !sameBits(r.read(p.Value), kernels.DecodeF32(x.Data)) {
			t.Errorf("%s is not what the file holds", p.Name)
		}
	}
	if len(names) != len(f.Names()) {
		t.Errorf("%d parameters, the file has %d", len(names), len(f.Names()))
	}
	if len(m.Unused) != 18 {
		t.Errorf("%d unused parameters, want one block of 16 and a norm of 2", len(m.Unused))
	}
}

func TestOpenRefuses(t *testing.T) {
	const victim = "model.language_model.layers.1.mlp.up_proj.weight"
	only := func(change func(x safetensors.Tensor) safetensors.Tensor) string {
		return rewrite(t, hf.Spelling{}, func(n string, x safetensors.Tensor) safetensors.Tensor {
			if n == victim {
				return change(x)
			}
			return x
		})
	}
	cases := map[string]struct {
		dir  string
		want []string
	}{
		"missing": {only(func(safetensors.Tensor) safetensors.Tensor { return safetensors.Tensor{} }), []string{victim, "missing"}},
		"shape": {only(func(x safetensors.Tensor) safetensors.Tensor { x.Shape = []int{24, 34}; return x }),
			[]string{victim, "[24 34]", "[34 24]"}},
		"dtype": {only(func(x safetensors.Tensor) safetensors.Tensor { x.DType = safetensors.I32; return x }), []string{victim, "I32", "BF16"}},
		"NaN": {only(func(x safetensors.Tensor) safetensors.Tensor {
			x.Data = slices.Clone(x.Data)
			binary.LittleEndian.PutUint32(x.Data[4*35:], 0x7fc00000)
			return x
		}), []string{victim, "model.safetensors", "element [1 11] is NaN"}},
		"infinite half": {only(func(x safetensors.Tensor) safetensors.Tensor {
			x = narrow(x, safetensors.F16)
			binary.LittleEndian.PutUint16(x.Data, 0xfc00)
			return x
		}), []string{victim, "model.safetensors", "element [0 0] is -Inf"}},
	}
	for name, c := range cases {
		_, err := llava.Open(context.Background(), reference.Open(), c.dir, llava.Options{})
		if !errors.Is(err, llava.ErrTensor) {
			t.Errorf("%s: error %v", name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %q does not say %q", name, err, w)
			}
		}
	}
	if _, err := llava.Open(context.Background(), reference.Open(), t.TempDir(), llava.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("empty folder: error %v", err)
	}
}

// A stage outside the tower, and one of a model whose head is its embedding.
func TestStagesRefused(t *testing.T) {
	tied := smallConfig()
	tied.Language.Tied = true
	for name, c := range map[string]struct {
		config  llava.Config
		options llava.Options
	}{
		"vision":   {smallConfig(), llava.Options{Vision: llava.Range{Lo: 0, Hi: 2}}}, // one feature block
		"language": {smallConfig(), llava.Options{Language: llava.Range{Lo: 1, Hi: 1}}},
		"tied":     {tied, llava.Options{Language: llava.Range{Lo: 0, Hi: 1}}},
	} {
		if _, err := llava.New(context.Background(), reference.Open(), c.config, 1, c.options); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheckBatch(t *testing.T) {
	c := smallConfig()
	for name, spoil := range map[string]string{"pixels": "pixel", "rows": "image tokens", "twice": "image row", "token": "token 23", "position": "position 32", "length": "tokens of"} {
		b := smallBatch(c)
		switch name {
		case "pixels":
			b.Pixels = b.Pixels[1:]
		case "rows":
			b.ImageRows = b.ImageRows[1:]
		case "twice":
			b.ImageRows[0] = b.ImageRows[1]
		case "token":
			b.Tokens[b.Length-1] = 23
		case "position":
			b.Positions[0] = 32
		case "length":
			b.Lengths[1] = 0
		}
		if err := c.CheckBatch(b); err == nil || !strings.Contains(err.Error(), spoil) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
