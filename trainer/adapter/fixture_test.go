package adapter

import (
	"context"
	"encoding/binary"
	"math"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/random"
)

// tower has a projector linear, two block linears of which the first has a bias,
// and a norm.
type tower struct {
	params  []*model.Param
	linears []*model.Linear
}

func (t *tower) Params() []*model.Param        { return t.params }
func (t *tower) Linears() []*model.Linear      { return t.linears }
func (t *tower) Prunable(n *model.Linear) bool { return n != t.linears[0] }
func (t *tower) Forward(*model.Lane, *data.Batch, model.Edge, model.Variant, bool) (model.Edge, model.State) {
	return model.Edge{}, nil
}
func (t *tower) Backward(*model.Lane, model.State, model.Edge, bool) model.Edge { return model.Edge{} }

// bench is a device with a tower on it.
type bench struct {
	*testing.T
	device kernels.Device
	stream kernels.Stream
	tower  *tower
	masks  map[*model.Linear][]bool
}

func newBench(t *testing.T, d kernels.DType) *bench {
	t.Helper()
	b := &bench{T: t, device: reference.Open(), tower: &tower{}, masks: map[*model.Linear][]bool{}}
	var err error
	if b.stream, err = b.device.NewStream(); err != nil {
		t.Fatal(err)
	}
	b.linear(d, "model.multi_modal_projector.linear_1", 8, 6, false)
	b.linear(d, "model.language_model.layers.0.mlp.up_proj", 10, 8, true)
	b.linear(d, "model.language_model.layers.0.mlp.down_proj", 8, 70, false)
	b.param(d, "model.language_model.norm.weight", 1, 8)
	for _, n := range b.tower.linears[1:] {
		b.mask(n)
	}
	return b
}

func (b *bench) tensor(d kernels.DType, rows, cols int) kernels.Tensor {
	b.Helper()
	buffer, err := b.device.Alloc(max(1, rows*cols*d.Size()))
	if err != nil {
		b.Fatal(err)
	}
	return kernels.NewTensor(buffer, d, rows, cols)
}

func (b *bench) param(d kernels.DType, name string, rows, cols int) *model.Param {
	r := random.New(5, uint32(len(b.tower.params)), 0, 0)
	v := make([]float32, rows*cols)
	for i := range v {
		v[i] = r.Normal()
	}
	exact := b.tensor(kernels.F32, rows, cols)
	b.stream.Upload(exact, kernels.EncodeF32(v))
	p := &model.Param{Name: name, Shape: []int{rows, cols}, Value: b.tensor(d, rows, cols)}
	b.stream.Convert(p.Value, exact)
	b.tower.params = append(b.tower.params, p)
	return p
}

func (b *bench) linear(d kernels.DType, name string, out, in int, bias bool) {
	n := &model.Linear{Weight: b.param(d, name+".weight", out, in)}
	if bias {
		n.Bias = b.param(d, name+".bias", 1, out)
	}
	b.tower.linears = append(b.tower.linears, n)
}

// mask keeps two of three weights.
func (b *bench) mask(n *model.Linear) {
	words := kernels.MaskWords(n.In())
	raw := make([]byte, 8*words*n.Out())
	kept := make([]bool, n.Out()*n.In())
	for i := range kept {
		if kept[i] = i%3 != 1; kept[i] {
			o, c := i/n.In(), i%n.In()
			raw[8*(o*words)+c/8] |= 1 << (c % 8)
		}
	}
	n.Mask = b.tensor(kernels.U64, n.Out(), words)
	b.stream.Upload(n.Mask, raw)
	b.masks[n] = kept
}

func (b *bench) attach(o Options) *Attachment {
	b.Helper()
	a, err := Attach(context.Background(), b.device, b.tower, o)
	if err != nil {
		b.Fatal(err)
	}
	return a
}

// lane returns a lane with initial values and, in every B, small numbers.
func (b *bench) lane(a *Attachment) *model.Lane {
	b.Helper()
	values := b.tensor(kernels.F32, 1, a.Layout.Len)
	if err := a.Init(context.Background(), b.stream, values, 1); err != nil {
		b.Fatal(err)
	}
	r := random.New(9, 0, 0, 0)
	for _, n := range b.tower.linears {
		if n.B == nil {
			continue
		}
		v := make([]float32, n.B.Len())
		for i := range v {
			v[i] = r.Normal() * 0.01
		}
		b.stream.Upload(n.B.View(values), kernels.EncodeF32(v))
	}
	return &model.Lane{Stream: b.stream, Pool: model.NewPool(b.device), Values: values}
}

func (b *bench) floats(t kernels.Tensor) []float32 {
	b.Helper()
	wide := b.tensor(kernels.F32, t.Rows, t.Cols)
	b.stream.Convert(wide, t)
	raw := make([]byte, wide.Bytes())
	b.stream.Download(raw, wide)
	if err := b.stream.Synchronize(context.Background()); err != nil {
		b.Fatal(err)
	}
	return decode(raw, kernels.F32)
}

func decode(raw []byte, d kernels.DType) []float32 {
	out := make([]float32, len(raw)/d.Size())
	for i := range out {
		if d == kernels.BF16 {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		} else {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
	return out
}

// equal compares bits.
func equal(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}
