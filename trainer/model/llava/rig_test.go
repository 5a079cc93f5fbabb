package llava_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
	"ressa/trainer/model/llava"
)

// rig runs training steps of a model and reads everything back.
type rig struct {
	stages []*llava.Language // of the language tower, to generate with; nil for the whole
	t      testing.TB
	device kernels.Device
	model  *llava.Model
	towers []*tower // vision, language
	stream kernels.Stream
	pool   *model.Pool
}

type tower struct {
	tower  model.Tower
	layout model.Layout
	lane   *model.Lane
}

func newRig(t testing.TB, d kernels.Device, m *llava.Model) *rig {
	t.Helper()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, device: d, model: m, stream: s, pool: model.NewPool(d)}
	t.Cleanup(func() { r.pool.Close(); _ = s.Close() })
	for _, tw := range []model.Tower{m.Vision, m.Language} {
		r.towers = append(r.towers, &tower{tower: tw, lane: &model.Lane{Stream: s, Pool: r.pool}})
	}
	return r
}

// trainAll gives every parameter a slot with its own value.
func (r *rig) trainAll() map[string][]float32 { return r.train(nil) }

// train gives the parameters of these names, or all, a slot with their value.
func (r *rig) train(names []string) map[string][]float32 {
	r.t.Helper()
	values := map[string][]float32{}
	for _, t := range r.towers {
		for _, p := range t.tower.Params() {
			if names == nil || slices.Contains(names, p.Name) {
				p.Slot = t.layout.Add(p.Name, p.Value.Rows, p.Value.Cols)
				values[p.Name] = r.read(p.Value)
			}
		}
	}
	r.allocate(values)
	return values
}

// attachSparse gives every linear the masks and factors of the goldens.
func (r *rig) attachSparse(g goldens) map[string][]float32 {
	r.t.Helper()
	values := map[string][]float32{}
	for _, t := range r.towers {
		for _, n := range t.tower.Linears() {
			p := n.Weight.Name
			if t.tower.Prunable(n) {
				n.Mask = r.mask(g.raw("sparse.mask."+p).Data, n.Out(), n.In())
			}
			n.Scale = float32(g.setting("scale"))
			n.A = t.layout.Add(p+".A", int(g.setting("rank")), n.In())
			n.B = t.layout.Add(p+".B", n.Out(), int(g.setting("rank")))
			values[p+".A"], values[p+".B"] = g.floats("sparse.value."+p+".A"), g.floats("sparse.value."+p+".B")
		}
	}
	r.allocate(values)
	return values
}

// allocate makes the flat vectors; gradients start as garbage, because every
// one must be overwritten.
func (r *rig) allocate(values map[string][]float32) {
	r.t.Helper()
	for _, t := range r.towers {
		if t.layout.Len == 0 {
			continue
		}
		for _, flat := range []*kernels.Tensor{&t.lane.Values, &t.lane.Grads} {
			b, err := r.device.Alloc(4 * t.layout.Len)
			if err != nil {
				r.t.Fatal(err)
			}
			*flat = kernels.NewTensor(b, kernels.F32, 1, t.layout.Len)
		}
		r.stream.Fill(t.lane.Grads, 1e6)
		for _, s := range t.layout.Slots {
			r.stream.Upload(s.View(t.lane.Values), kernels.EncodeF32(values[s.Name]))
		}
	}
	r.sync()
}

func (r *rig) sync() {
	r.t.Helper()
	if err := r.stream.Synchronize(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	if err := r.pool.Err(); err != nil {
		r.t.Fatal(err)
	}
}

// read returns the contents of an F32 or BF16 tensor.
func (r *rig) read(x kernels.Tensor) []float32 {
	r.t.Helper()
	y := r.pool.Get(kernels.F32, x.Rows, x.Cols)
	defer r.pool.Put(y)
	r.stream.Convert(y, x)
	raw := make([]byte, y.Bytes())
	r.stream.Download(raw, y)
	r.sync()
	return kernels.DecodeF32(raw)
}

// mask packs bytes of 0 and 1 as the kernels take them.
func (r *rig) mask(kept []byte, rows, cols int) kernels.Tensor {
	r.t.Helper()
	words := kernels.MaskWords(cols)
	raw := make([]byte, 8*rows*words)
	for i := range rows {
		for j := range cols {
			if kept[i*cols+j] != 0 {
				raw[8*(i*words+j/64)+j%64/8] |= 1 << (j % 8)
			}
		}
	}
	b, err := r.device.Alloc(len(raw))
	if err != nil {
		r.t.Fatal(err)
	}
	m := kernels.NewTensor(b, kernels.U64, rows, words)
	r.stream.Upload(m, raw)
	r.sync()
	return m
}

// loss holds λ-weights; kl needs a temperature.
type loss struct {
	ce, kl, temperature float64
}

type result struct {
	logits, teacher []float32
	ce, kl          float64 // means over answer tokens, unweighted
	grads           map[string][]float32
}

// forward runs both towers over a batch and returns the final hidden state.
func (r *rig) forward(b *data.Batch, v model.Variant, keep bool) (kernels.Tensor, []model.State) {
	vision, language := r.towers[0], r.towers[1]
	features, vs := vision.tower.Forward(vision.lane, b, model.Edge{}, v, keep)
	hidden, ls := language.tower.Forward(language.lane, b, features, v, keep)
	r.pool.Put(features.Tensor(model.Features))
	return hidden.Tensor(model.Hidden), []model.State{vs, ls}
}

// step computes loss and gradients of the student over the answer tokens.
func (r *rig) step(b *data.Batch, w loss) result {
	r.t.Helper()
	vision, language := r.towers[0], r.towers[1]
	lane, head := language.lane, r.model.Language
	var rows, labels []int32
	for i, y := range b.Labels {
		if y >= 0 {
			rows, labels = append(rows, int32(i)), append(labels, y)
		}
	}
	n := len(rows)
	index, target := layer.Ints(lane, rows), layer.Ints(lane, labels)
	logits := func(v model.Variant, hidden kernels.Tensor) (chosen, z kernels.Tensor) {
		chosen = lane.Scratch(n, hidden.Cols)
		r.stream.GatherRows(chosen, hidden, index)
		return chosen, head.Logits(lane, chosen, v)
	}

	var out result
	args := kernels.CrossEntropyKLArgs{Labels: target, Temperature: 1, CEScale: float32(w.ce / float64(n)), Losses: lane.Scratch(n, 2)}
	if w.kl != 0 {
		hidden, _ := r.forward(b, model.Dense, false)
		chosen, z := logits(model.Dense, hidden)
		lane.Free(hidden, chosen)
		out.teacher = r.read(z)
		args.Teachers = []kernels.TeacherLogits{{Logits: z, Weight: 1}}
		args.Temperature, args.KLScale = float32(w.temperature), float32(w.kl/float64(n))
	}
	hidden, states := r.forward(b, model.Student, true)
	chosen, z := logits(model.Student, hidden)
	out.logits = r.read(z)
	args.Logits, args.DLogits = z, z
	r.stream.CrossEntropyKL(args)
	for i, v := range r.read(args.Losses) {
		if i%2 == 0 {
			out.ce += float64(v) / float64(n)
		} else {
			out.kl += float64(v) / float64(n)
		}
	}

	dchosen := lane.Scratch(chosen.Rows, chosen.Cols)
	head.LogitsBackward(lane, dchosen, z, chosen, false)
	dhidden := lane.Scratch(hidden.Rows, hidden.Cols)
	r.stream.Fill(dhidden, 0)
	r.stream.ScatterRows(dhidden, dchosen, index)
	dfeatures := language.tower.Backward(lane, states[1], model.Edge{}.With(model.Hidden, dhidden), b.Images > 0)
	vision.tower.Backward(vision.lane, states[0], dfeatures, false)
	lane.Free(index, target, args.Losses, hidden, chosen, z, dchosen, dhidden, dfeatures.Tensor(model.Features))
	for _, k := range args.Teachers {
		lane.Free(k.Logits)
	}
	r.sync()
	if used := r.pool.InUse(); used != 0 {
		r.t.Errorf("%d bytes of scratch are not given back", used)
	}

	out.grads = map[string][]float32{}
	for _, t := range r.towers {
		for _, s := range t.layout.Slots {
			out.grads[s.Name] = r.read(s.View(t.lane.Grads))
		}
	}
	return out
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}
