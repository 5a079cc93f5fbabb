//go:build cgo && linux

package cuda

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
)

// layerRig is a device with one stream, and random tensors on it. What takes smaller
// panels than those of the interface needs the stream itself.
type layerRig struct {
	t      *testing.T
	device kernels.Device
	stream kernels.Stream
	rng    *rand.Rand
}

func newLayerRig(t *testing.T) (*layerRig, *Stream) { return layerRigOn(t, onDevice(t)) }

func layerRigOn(t *testing.T, o Options) (*layerRig, *Stream) {
	d := openDevice(t, o)
	s, err := d.newStream()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return &layerRig{t, d, s, rand.New(rand.NewPCG(1, 2))}, s
}

func (r *layerRig) empty(rows, cols int) kernels.Tensor {
	b, err := r.device.Alloc(4 * rows * cols)
	if err != nil {
		r.t.Fatal(err)
	}
	return kernels.NewTensor(b, kernels.F32, rows, cols)
}

func (r *layerRig) random(rows, cols int) kernels.Tensor {
	t, x := r.empty(rows, cols), make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(r.rng.NormFloat64())
	}
	r.stream.Upload(t, kernels.EncodeF32(x))
	return t
}

func (r *layerRig) read(t kernels.Tensor) []float32 {
	raw := make([]byte, t.Bytes())
	r.stream.Download(raw, t)
	if err := r.stream.Synchronize(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	return kernels.DecodeF32(raw)
}

func (r *layerRig) weight(out, in, rank int, round kernels.DType) kernels.LinearWeight {
	mask := r.empty(out, 2*kernels.MaskWords(in)) // as many bytes
	mask.DType, mask.Cols, mask.Stride = kernels.U64, kernels.MaskWords(in), kernels.MaskWords(in)
	bits := make([]byte, mask.Bytes())
	for i := range bits {
		bits[i] = byte(r.rng.Uint32())
	}
	r.stream.Upload(mask, bits)
	return kernels.LinearWeight{W: r.random(out, in), Mask: mask, A: r.random(rank, in), B: r.random(out, rank), Scale: 0.5, Round: round}
}

// DESIGN.md says so; the case table would allow fused products.
func TestEffectiveWeightHasTheBitsOfTheReference(t *testing.T) {
	bits := func(d kernels.Device, round kernels.DType) []byte {
		s, err := d.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		r := &layerRig{t, d, s, rand.New(rand.NewPCG(3, 4))}
		w := r.weight(130, 200, 19, round)
		dst := r.empty(130, 200)
		s.EffectiveWeight(dst, w)
		got := kernels.EncodeF32(r.read(dst))
		if err := errors.Join(s.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, round := range []kernels.DType{kernels.F32, kernels.BF16} {
		if !bytes.Equal(bits(openDevice(t, onDevice(t)), round), bits(reference.Open(), round)) {
			t.Errorf("%v: other bits than the reference", round)
		}
	}
}

// Layers of real models take several panels, which those of the case table do not.
func TestPanelsGiveTheBitsOfOne(t *testing.T) {
	r, s := newLayerRig(t)
	for _, round := range []kernels.DType{kernels.F32, kernels.BF16} {
		w := r.weight(300, 256, 3, round)
		x, bias, y := r.random(40, 256), r.random(1, 300), r.empty(40, 300)
		s.linearForward(y, x, w, bias, panelBytes)
		want := r.read(y)
		s.linearForward(y, x, w, bias, 1)
		if !slices.Equal(r.read(y), want) {
			t.Errorf("forward, %v: other bits in panels of %d rows", round, side)
		}
		w = r.weight(256, 300, 3, round)
		dy, dx := r.random(5, 256), r.empty(5, 300)
		s.linearBackwardInput(dx, dy, w, false, panelBytes)
		want = r.read(dx)
		s.linearBackwardInput(dx, dy, w, false, 1)
		if !slices.Equal(r.read(dx), want) {
			t.Errorf("backward, %v: other bits in panels of %d columns", round, side)
		}
	}
}

// dA is rounded after each panel, so its bits may differ; dB's may not.
func TestAdapterGradientsInPanels(t *testing.T) {
	r, s := newLayerRig(t)
	w := r.weight(300, 140, 5, kernels.F32)
	x, dy, dA, dB := r.random(20, 140), r.random(20, 300), r.empty(5, 140), r.empty(300, 5)
	s.linearBackwardAdapter(dA, dB, dy, x, w, foldBytes)
	wantA, wantB := r.read(dA), r.read(dB)
	s.linearBackwardAdapter(dA, dB, dy, x, w, 1)
	gotA, gotB := r.read(dA), r.read(dB)
	if !slices.Equal(gotB, wantB) {
		t.Error("dB: other bits in panels")
	}
	for i, v := range gotA {
		if math.Abs(float64(v-wantA[i])) > 1e-3 { // sums of 300 products of about 4
			t.Fatalf("dA[%d] is %v in panels, %v in one", i, v, wantA[i])
		}
	}
}

// Three parts hold the 24 bits of a float32, so that a product with 1 is exact.
func TestPartsHoldAFloat32(t *testing.T) {
	r, _ := newLayerRig(t)
	const n = 64
	x, one, c := r.random(n, 1), r.empty(1, 1), r.empty(n, 1)
	r.stream.Fill(one, 1)
	for _, g := range []kernels.GemmArgs{{C: c, A: x, B: one, Form: kernels.NT}, {C: c, A: x, B: one, Form: kernels.NN}} {
		r.stream.Gemm(g)
		if got, want := r.read(c), r.read(x); !slices.Equal(got, want) {
			t.Errorf("form %d: x·1 is not x: %v, want %v", g.Form, got, want)
		}
	}
}

// Nothing to sum is zero, also where the gradient was something else before.
func TestNoTokensGiveZeroGradients(t *testing.T) {
	r, _ := newLayerRig(t)
	w := r.weight(70, 130, 3, kernels.F32)
	dA, dB, dW := r.random(3, 130), r.random(70, 3), r.random(70, 130)
	r.stream.LinearBackwardAdapter(dA, dB, r.empty(0, 70), r.empty(0, 130), w)
	r.stream.LinearBackwardWeight(dW, r.empty(0, 70), r.empty(0, 130), w.Mask)
	for name, g := range map[string]kernels.Tensor{"dA": dA, "dB": dB, "dW": dW} {
		for i, v := range r.read(g) {
			if v != 0 {
				t.Fatalf("%s[%d] is %v without tokens", name, i, v)
			}
		}
	}
}
