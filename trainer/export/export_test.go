package export

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/reference"
	"ressa/kernels/sparse"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/prune"
	"ressa/trainer/random"
)

const source = "../model/llava/testdata/tiny"

// rig is a tiny model that was pruned and given some training.
type rig struct {
	*testing.T
	device kernels.Device
	model  *llava.Model
	masks  prune.Masks
	spec   Spec
}

// oneOfTwo divides the widths of the tiny model.
var oneOfTwo = sparse.Pattern{N: 1, M: 2}

func newRig(t *testing.T, method adapter.Method, d kernels.DType) *rig {
	t.Helper()
	return newRigOn(t, reference.Open(), method, d)
}

func newRigOn(t *testing.T, device kernels.Device, method adapter.Method, d kernels.DType) *rig {
	t.Helper()
	ctx := context.Background()
	r := &rig{T: t, device: device}
	f, err := hf.Open(source)
	r.check(err)
	r.model, err = llava.Open(ctx, r.device, source, llava.Options{})
	r.check(err)
	r.spec = Spec{Dir: filepath.Join(t.TempDir(), "out"), DType: d, Config: f.Config().Raw, Spelling: hf.Spelling{Original: true},
		SideFrom: source, Base: "tiny", Unused: r.model.Unused}
	r.check(f.Close())
	lane := r.lane()
	for i, tower := range []model.Tower{r.model.Vision, r.model.Language} {
		r.check(adapter.RoundFrozen(ctx, lane, tower, d))
		masks, err := prune.Compute(ctx, lane, tower, prune.Options{Method: prune.Magnitude, Pattern: oneOfTwo})
		r.check(err)
		r.masks = append(r.masks, masks...)
		_, err = masks.Apply(ctx, r.device, tower)
		r.check(err)
		if method == "" {
			adapter.Round(tower, d)
			r.spec.Towers = append(r.spec.Towers, Tower{Tower: tower, Lane: lane, Pattern: oneOfTwo})
			continue
		}
		a, err := adapter.Attach(ctx, r.device, tower, adapter.Options{Method: method, Rank: 2 + i, Alpha: 4, Projector: true, Round: d})
		r.check(err)
		own := r.lane()
		own.Values = r.train(a, own.Stream)
		a.Remask(true)
		r.spec.Towers = append(r.spec.Towers, Tower{Tower: tower, Lane: own, Attachment: a, Pattern: oneOfTwo})
	}
	r.spec.Masks = r.masks
	return r
}

func (r *rig) check(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) lane() *model.Lane {
	r.Helper()
	s, err := r.device.NewStream()
	r.check(err)
	return &model.Lane{Stream: s, Pool: model.NewPool(r.device)}
}

// train returns initial values with small numbers in every B.
func (r *rig) train(a *adapter.Attachment, s kernels.Stream) kernels.Tensor {
	r.Helper()
	b, err := r.device.Alloc(4 * a.Layout.Len)
	r.check(err)
	values := kernels.NewTensor(b, kernels.F32, 1, a.Layout.Len)
	r.check(a.Init(context.Background(), s, values, 1))
	g := random.New(1, 0, 0, 0)
	for _, slot := range a.Layout.Slots {
		if !strings.HasSuffix(slot.Name, ".lora_B.weight") {
			continue
		}
		var raw []byte
		for range slot.Len() {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(g.Normal()*0.1))
		}
		s.Upload(slot.View(values), raw)
	}
	return values
}

// logits runs a model on one image and some text.
func (r *rig) logits(m *llava.Model, vision, language *model.Lane, v model.Variant) []byte {
	r.Helper()
	n := m.Config.FeaturesPerImage()
	b := &data.Batch{Sequences: 1, Length: n + 3, Images: 1, Lengths: []int32{int32(n + 3)}}
	for i := range m.Config.Vision.PixelsPerImage() {
		b.Pixels = append(b.Pixels, float32(math.Sin(float64(i))))
	}
	for t := range b.Length {
		b.Tokens, b.Positions, b.Labels = append(b.Tokens, int32(t%7)), append(b.Positions, int32(t)), append(b.Labels, data.Ignore)
		if t < n {
			b.ImageRows = append(b.ImageRows, int32(t))
		}
	}
	features, _ := m.Vision.Forward(vision, b, model.Edge{}, v, false)
	out, _ := m.Language.Forward(language, b, features, v, false)
	z := m.Language.Logits(language, out.Tensor(model.Hidden), v)
	raw := make([]byte, z.Bytes())
	language.Stream.Download(raw, z)
	r.check(language.Stream.Synchronize(context.Background()))
	return raw
}

func TestExportedComputesWhatWasTrained(t *testing.T) {
	exportedComputesWhatWasTrained(t, reference.Open())
}

func TestExportedComputesWhatWasTrainedOnCPU(t *testing.T) {
	d, err := cpu.Open(cpu.Options{})
	if err != nil {
		t.Skip(err) // built without cgo
	}
	exportedComputesWhatWasTrained(t, d)
}

func exportedComputesWhatWasTrained(t *testing.T, device kernels.Device) {
	ctx := context.Background()
	for _, method := range []adapter.Method{adapter.SparseLoRA, adapter.LoRARemask, adapter.Masked, ""} {
		for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
			r := newRigOn(t, device, method, d)
			trained := r.logits(r.model, r.spec.Towers[0].Lane, r.spec.Towers[1].Lane, model.Student)
			result, err := Write(ctx, r.spec)
			if err != nil {
				t.Fatalf("%q %v: %v", method, d, err)
			}
			if result.Merge.Inexact != 0 {
				t.Errorf("%q %v: %d inexact values", method, d, result.Merge.Inexact)
			}
			if low := method.LowRank(); low != (result.AdapterSHA256 != "") {
				t.Errorf("%q: adapter hash %q", method, result.AdapterSHA256)
			}
			// Loaded like any dense checkpoint, without masks or adapter.
			m, err := llava.Open(ctx, r.device, r.spec.Dir, llava.Options{})
			r.check(err)
			l := r.lane()
			if !bytes.Equal(r.logits(m, l, l, model.Dense), trained) {
				t.Errorf("%q %v: the exported model computes otherwise", method, d)
			}
			f, err := hf.Open(r.spec.Dir)
			r.check(err)
			if f.Spelling() != r.spec.Spelling || len(f.MaskNames()) != len(r.masks) {
				t.Errorf("%q %v: spelling %v, %d masks", method, d, f.Spelling(), len(f.MaskNames()))
			}
			if hash, err := f.Hash(ctx); err != nil || hash != result.Hash {
				t.Errorf("%q %v: hash %s, %v, reported %s", method, d, hash, err, result.Hash)
			}
			r.check(f.Close())
		}
	}
}

// The golden holds the logits that transformers computes from the exported
// folder; see testdata/load_in_transformers.py.
func TestTransformersComputesTheSame(t *testing.T) {
	r := newRig(t, adapter.SparseLoRA, kernels.F32)
	if dir := os.Getenv("RESSA_EXPORT_DIR"); dir != "" {
		r.spec.Dir = dir
	}
	_, err := Write(context.Background(), r.spec)
	r.check(err)
	raw := r.logits(r.model, r.spec.Towers[0].Lane, r.spec.Towers[1].Lane, model.Student)
	golden, err := os.ReadFile("testdata/logits.json")
	r.check(err)
	var want []float64
	r.check(json.Unmarshal(golden, &want))
	if len(raw) != 4*len(want) {
		t.Fatalf("%d logits, want %d", len(raw)/4, len(want))
	}
	for i, w := range want {
		got := float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
		if math.Abs(got-w) > 1e-5+1e-4*math.Abs(w) {
			t.Fatalf("logit %d is %v, transformers says %v", i, got, w)
		}
	}
}

func TestExportTwiceIsTheSame(t *testing.T) {
	r := newRig(t, adapter.SparseLoRA, kernels.BF16)
	first, err := Write(context.Background(), r.spec)
	r.check(err)
	if _, err := Write(context.Background(), r.spec); err == nil {
		t.Error("overwrote a folder without being asked")
	}
	r.spec.Overwrite = true
	again, err := Write(context.Background(), r.spec)
	r.check(err)
	if again.Hash != first.Hash || again.AdapterSHA256 != first.AdapterSHA256 || first.Merge.Lost() != again.Merge.Lost() {
		t.Errorf("first %v, again %v", first, again)
	}
}

func TestNothingAppearsOnFailure(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*rig)
		want  error
	}{
		"a weight under a mask": {func(r *rig) { // the tower has another mask than what is to be stored
			r.spec.Masks = append(prune.Masks{}, r.masks...)
			r.spec.Masks[0].Mask = r.masks[0].Mask.Clone()
			m := r.spec.Masks[0].Mask
			for c := range m.Cols {
				m.Set(0, c, false)
			}
		}, ErrVerify},
		"a pattern that does not hold": {func(r *rig) { r.spec.Towers[1].Pattern = sparse.Pattern{Ratio: 0.9} }, ErrVerify},
		"another dtype":                {func(r *rig) { r.spec.DType = kernels.BF16 }, nil},
		"a broken config":              {func(r *rig) { r.spec.Config = []byte(`{"a":1,"a":2}`) }, nil},
		"a missing source":             {func(r *rig) { r.spec.SideFrom = filepath.Join(r.TempDir(), "none") }, os.ErrNotExist},
	} {
		r := newRig(t, adapter.SparseLoRA, kernels.F32)
		c.spoil(r)
		_, err := Write(context.Background(), r.spec)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		left, _ := os.ReadDir(filepath.Dir(r.spec.Dir))
		if len(left) != 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}

func TestCheckZeros(t *testing.T) {
	r := newRig(t, "", kernels.F32)
	_, err := Write(context.Background(), r.spec)
	r.check(err)
	f, err := hf.Open(r.spec.Dir)
	r.check(err)
	defer f.Close()
	if err := Check(f, r.masks, oneOfTwo); err != nil {
		t.Error(err)
	}
	name := r.masks[3].Name
	weight, err := f.Tensor(name)
	r.check(err)
	spoiled := bytes.Clone(weight.Data)
	m := r.masks[3].Mask
	for c := range m.Cols {
		if !m.Get(1, c) {
			spoiled[4*(m.Cols+c)+3] = 0x80 // −0
			break
		}
	}
	weight.Data = spoiled
	if err := checkZeros(weight, m); err == nil || !strings.Contains(err.Error(), "(1, ") {
		t.Errorf("a negative zero gives %v", err)
	}
}

func TestConfigDType(t *testing.T) {
	for _, c := range []struct {
		in   string
		d    kernels.DType
		want string
	}{
		{`{"dtype":"float32","x":1e-05}`, kernels.F32, `{"dtype":"float32","x":1e-05}`},
		{`{"dtype":"float32","x":1e-05}`, kernels.BF16, "{\n  \"dtype\": \"bfloat16\",\n  \"x\": 1e-05\n}\n"},
		{`{"text_config":{"torch_dtype":"float16"}}`, kernels.F32, "{\n  \"text_config\": {\n    \"torch_dtype\": \"float32\"\n  }\n}\n"},
		{`{}`, kernels.BF16, "{\n  \"torch_dtype\": \"bfloat16\"\n}\n"},
		{`{"dtype":null,"torch_dtype":"bfloat16"}`, kernels.BF16, `{"dtype":null,"torch_dtype":"bfloat16"}`},
	} {
		got, err := withDType([]byte(c.in), c.d)
		if err != nil || string(got) != c.want {
			t.Errorf("%s as %v: %s, %v", c.in, c.d, got, err)
		}
	}
}
