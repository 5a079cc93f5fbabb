package llava_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/reference"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/data"
	"ressa/trainer/model/llava"
)

// tolerance is the greatest ‖got − want‖/‖want‖ of a tensor that float32 in
// another order of summation explains.
const tolerance = 1e-4

// devices returns the backends that run here; every variant of the C one is
// held to its case table in its own package.
func devices(t *testing.T) map[string]kernels.Device {
	t.Helper()
	ds := map[string]kernels.Device{"reference": reference.Open()}
	if d, err := cpu.Open(cpu.Options{}); err == nil {
		ds["cpu"] = d
	} else {
		t.Log(err)
	}
	t.Cleanup(func() {
		for _, d := range ds {
			_ = d.Close()
		}
	})
	return ds
}

func openFile(t testing.TB, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func loadTiny(t testing.TB, d kernels.Device, o llava.Options) *llava.Model {
	t.Helper()
	m, err := llava.Open(context.Background(), d, "testdata/tiny", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// goldens gives typed access to goldens.safetensors.
type goldens struct {
	t testing.TB
	*safetensors.File
}

func openGoldens(t testing.TB) goldens {
	return goldens{t, openFile(t, "testdata/goldens.safetensors")}
}

func (g goldens) raw(name string) safetensors.Tensor {
	g.t.Helper()
	v, err := g.Tensor(name)
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

func (g goldens) floats(name string) []float32 {
	g.t.Helper()
	return kernels.DecodeF32(g.raw(name).Data)
}

func (g goldens) ints(name string) []int32 {
	g.t.Helper()
	raw := g.raw(name).Data
	out := make([]int32, len(raw)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

func (g goldens) setting(name string) float64 {
	g.t.Helper()
	var s map[string]float64
	if err := json.Unmarshal([]byte(g.Metadata()["settings"]), &s); err != nil {
		g.t.Fatal(err)
	}
	return s[name]
}

// batch returns the inputs; image tokens stand where the model expects features.
func (g goldens) batch(c llava.Config) *data.Batch {
	b := &data.Batch{Tokens: g.ints("tokens"), Labels: g.ints("labels"), Lengths: g.ints("lengths"), Pixels: g.floats("pixels")}
	b.Sequences = len(b.Lengths)
	b.Length = len(b.Tokens) / b.Sequences
	b.Images = len(b.Pixels) / c.Vision.PixelsPerImage()
	for i, id := range b.Tokens {
		b.Positions = append(b.Positions, int32(i%b.Length))
		if int(id) == c.ImageToken {
			b.ImageRows = append(b.ImageRows, int32(i))
		}
		if b.Labels[i] >= 0 {
			b.AnswerTokens++
		}
	}
	if err := c.CheckBatch(b); err != nil {
		g.t.Fatal(err)
	}
	return b
}

// relative returns ‖got − want‖/‖want‖.
func relative(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var diff, norm float64
	for i := range got {
		d := float64(got[i]) - float64(want[i])
		diff, norm = diff+d*d, norm+float64(want[i])*float64(want[i])
	}
	if norm == 0 {
		return math.Sqrt(diff)
	}
	return math.Sqrt(diff / norm)
}

// sum returns a + b.
func sum(a, b []float32) []float32 {
	out := make([]float32, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

func compare(t *testing.T, name string, got, want []float32) {
	t.Helper()
	if e := relative(got, want); !(e <= tolerance) {
		t.Errorf("%s: relative error %.2e, want at most %.0e", name, e, tolerance)
	}
}

// Every parameter trained, plain cross-entropy.
func TestDenseGradientsMatchPyTorch(t *testing.T) {
	g := openGoldens(t)
	for name, d := range devices(t) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, d, loadTiny(t, d, llava.Options{}))
			r.trainAll()
			b := g.batch(r.model.Config)
			out := r.step(b, loss{ce: 1})
			compare(t, "logits", out.logits, g.floats("dense.logits"))
			compare(t, "loss", []float32{float32(out.ce)}, g.floats("dense.loss"))
			seen := 0
			for _, want := range g.Names() {
				param, ok := strings.CutPrefix(want, "dense.grad.")
				if !ok {
					continue
				}
				got, ok := out.grads[param]
				if !ok {
					t.Errorf("no gradient of %s", param)
					continue
				}
				seen++
				if strings.HasSuffix(param, "self_attn.k_proj.bias") {
					// A constant added to every key leaves the softmax as it is: this
					// gradient is zero but for rounding, in PyTorch too.
					query := out.grads[strings.Replace(param, "k_proj", "q_proj", 1)]
					compare(t, param, sum(query, got), sum(query, g.floats(want)))
					continue
				}
				compare(t, param, got, g.floats(want))
			}
			if seen != len(out.grads) {
				t.Errorf("%d gradients, PyTorch has %d", len(out.grads), seen)
			}
		})
	}
}

// Masks and adapters on both towers, distillation from the dense model.
func TestSparseLoRAGradientsMatchPyTorch(t *testing.T) {
	g := openGoldens(t)
	for name, d := range devices(t) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, d, loadTiny(t, d, llava.Options{}))
			values := r.attachSparse(g)
			b := g.batch(r.model.Config)
			lambda, temperature := g.setting("lambda"), g.setting("temperature")
			out := r.step(b, loss{ce: 1 - lambda, kl: lambda * temperature * temperature, temperature: temperature})
			compare(t, "logits", out.logits, g.floats("sparse.logits"))
			compare(t, "teacher", out.teacher, g.floats("dense.logits"))
			compare(t, "ce", []float32{float32(out.ce)}, g.floats("sparse.ce"))
			compare(t, "kl", []float32{float32(out.kl)}, g.floats("sparse.kl"))
			if len(out.grads) != len(values) {
				t.Errorf("%d gradients, want %d", len(out.grads), len(values))
			}
			for name, got := range out.grads {
				compare(t, name, got, g.floats("sparse.grad."+name))
			}
		})
	}
}
