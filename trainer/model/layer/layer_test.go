package layer_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
)

func TestRotaryTables(t *testing.T) {
	const positions, dim, theta = 50, 6, 700.0
	cos, sin := layer.RotaryTables(positions, dim, theta)
	for p := range positions {
		for j := range dim / 2 {
			angle := float64(p) * math.Pow(theta, -2*float64(j)/dim)
			i := p*dim/2 + j
			if math.Abs(float64(cos[i])-math.Cos(angle)) > 1e-5 || math.Abs(float64(sin[i])-math.Sin(angle)) > 1e-5 {
				t.Fatalf("position %d, pair %d: (%v, %v), want the angle %v", p, j, cos[i], sin[i], angle)
			}
		}
	}
}

// lane returns a lane on the reference backend with every parameter trained.
type bench struct {
	t      *testing.T
	device kernels.Device
	layout model.Layout
	lane   *model.Lane
	block  *layer.Block
}

func newBench(t *testing.T, gated bool) *bench {
	t.Helper()
	b := &bench{t: t, device: reference.Open()}
	s, err := b.device.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	b.lane = &model.Lane{Stream: s, Pool: model.NewPool(b.device)}
	const c, f, heads, kv, dim = 8, 10, 4, 2, 2
	k := &layer.Block{}
	k.Norm1 = layer.Norm{Gamma: b.param(1, c), Eps: 1e-5}
	k.Norm2 = layer.Norm{Gamma: b.param(1, c), Beta: b.param(1, c), Eps: 1e-5}
	k.Attention = layer.Attention{Q: b.linear(heads*dim, c), K: b.linear(kv*dim, c), V: b.linear(kv*dim, c), Out: b.linear(c, heads*dim),
		Heads: heads, KVHeads: kv, HeadDim: dim, Causal: gated}
	k.MLP = layer.MLP{Up: b.linear(f, c), Down: b.linear(c, f), Activation: kernels.SiLU}
	if gated {
		k.MLP.Gate = b.linear(f, c)
	}
	b.block = k
	b.lane.Values, b.lane.Grads = b.tensor(1, b.layout.Len), b.tensor(1, b.layout.Len)
	return b
}

func (b *bench) tensor(rows, cols int) kernels.Tensor {
	m, err := b.device.Alloc(4 * rows * cols)
	if err != nil {
		b.t.Fatal(err)
	}
	x := kernels.NewTensor(m, kernels.F32, rows, cols)
	v := make([]float32, rows*cols)
	for i := range v {
		v[i] = float32(math.Sin(float64(3*i + rows + 7*cols)))
	}
	b.lane.Stream.Upload(x, kernels.EncodeF32(v))
	return x
}

func (b *bench) param(rows, cols int) *model.Param {
	return &model.Param{Value: b.tensor(rows, cols), Slot: b.layout.Add("", rows, cols)}
}

func (b *bench) linear(out, in int) *model.Linear {
	return &model.Linear{Weight: b.param(out, in), Bias: b.param(1, out)}
}

func (b *bench) read(x kernels.Tensor) []float64 {
	b.t.Helper()
	raw := make([]byte, x.Bytes())
	b.lane.Stream.Download(raw, x)
	if err := b.lane.Stream.Synchronize(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	out := make([]float64, x.Len())
	for i, v := range kernels.DecodeF32(raw) {
		out[i] = float64(v)
	}
	return out
}

// The gradient of the input, by central differences of ⟨weights, block(x)⟩, and
// no scratch that is not given back.
func TestBlockInputGradient(t *testing.T) {
	for name, gated := range map[string]bool{"plain": false, "gated, causal": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, gated)
			q := layer.Sequences{Count: 2, Length: 3}
			x, weights := b.tensor(6, 8), b.tensor(6, 8)
			w := b.read(weights)
			value := func(x kernels.Tensor, keep layer.Keep) (float64, *layer.BlockState) {
				y, st := b.block.Forward(b.lane, layer.Copy(b.lane, x), q, model.Student, keep)
				var sum float64
				for i, v := range b.read(y) {
					sum += v * w[i]
				}
				b.lane.Free(y)
				return sum, st
			}
			plain, _ := value(x, layer.KeepNothing)
			kept, st := value(x, layer.KeepAll)
			if plain != kept {
				t.Errorf("forward gives %v with state, %v without", kept, plain)
			}
			d := layer.Copy(b.lane, weights)
			b.block.Backward(b.lane, d, q, st, true)
			got := b.read(d)
			b.lane.Free(d)
			grads := b.read(b.lane.Grads)
			for _, keep := range []layer.Keep{layer.KeepInput, layer.KeepAttention} {
				again, st := value(x, keep)
				d := layer.Copy(b.lane, weights)
				b.block.Backward(b.lane, d, q, st, true)
				if again != plain || !slices.Equal(b.read(d), got) || !slices.Equal(b.read(b.lane.Grads), grads) {
					t.Errorf("a block that keeps %v gives other bits", keep)
				}
				b.lane.Free(d)
			}
			at := b.read(x)
			for i := range at {
				const eps = 1e-2
				move := func(by float64) float64 {
					v := make([]float32, len(at))
					for j := range v {
						v[j] = float32(at[j])
					}
					v[i] += float32(by)
					b.lane.Stream.Upload(x, kernels.EncodeF32(v))
					sum, _ := value(x, layer.KeepNothing)
					return sum
				}
				want := (move(eps) - move(-eps)) / (2 * eps)
				if math.Abs(got[i]-want) > 2e-2*(1+math.Abs(want)) {
					t.Errorf("element %d: gradient %v, difference quotient %v", i, got[i], want)
				}
			}
			if used := b.lane.Pool.InUse(); used != 0 {
				t.Errorf("%d bytes of scratch are not given back", used)
			}
		})
	}
}
