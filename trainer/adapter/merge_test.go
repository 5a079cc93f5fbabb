package adapter

import (
	"context"
	"math"
	"testing"

	"ressa/kernels"
	"ressa/trainer/model"
)

// merged returns all parameters of the exported model by name.
func (b *bench) merged(m *Merger) map[string][]float32 {
	b.Helper()
	out := map[string][]float32{}
	for _, p := range b.tower.params {
		data, err := m.Param(context.Background(), p)
		if err != nil {
			b.Fatal(err)
		}
		out[p.Name] = decode(data, m.DType())
	}
	return out
}

// forward returns y = x·W_effᵀ for a fixed x, as training computes it.
func (b *bench) forward(n *model.Linear, l *model.Lane) []float32 {
	x, y := b.tensor(kernels.F32, 3, n.In()), b.tensor(kernels.F32, 3, n.Out())
	v := make([]float32, x.Len())
	for i := range v {
		v[i] = float32(i%7) - 3
	}
	b.stream.Upload(x, kernels.EncodeF32(v))
	n.Forward(l, y, x, model.Student)
	return b.floats(y)
}

func TestMergedIsTrained(t *testing.T) {
	for _, m := range []Method{SparseLoRA, LoRARemask, Masked, Full} {
		for _, stored := range []kernels.DType{kernels.F32, kernels.BF16} {
			for _, round := range []kernels.DType{kernels.F32, kernels.BF16} {
				b := newBench(t, stored)
				o := options(m)
				o.Round = round
				a := b.attach(o)
				l := b.lane(a)
				a.Remask(true)
				var trained [][]float32
				for _, n := range b.tower.linears {
					trained = append(trained, b.forward(n, l))
				}
				got := b.merged(a.Merger(l))
				a.Detach()
				for i, n := range b.tower.linears {
					w := got[n.Weight.Name]
					for j, kept := range b.masks[n] {
						if !kept && math.Float32bits(w[j]) != 0 {
							t.Fatalf("%s %v→%v: %s[%d] = %v, want +0", m, stored, round, n.Weight.Name, j, w[j])
						}
					}
					// The exported weight in a plain dense layer.
					plain := *n
					plain.Mask, plain.Weight = kernels.Tensor{}, &model.Param{Value: b.tensor(kernels.F32, n.Out(), n.In())}
					b.stream.Upload(plain.Weight.Value, kernels.EncodeF32(w))
					if !equal(b.forward(&plain, &model.Lane{Stream: b.stream}), trained[i]) {
						t.Errorf("%s %v→%v: %s computes otherwise after the merge", m, stored, round, n.Weight.Name)
					}
				}
			}
		}
	}
}

func TestRemaskIsWhatIsLost(t *testing.T) {
	b := newBench(t, kernels.F32)
	a := b.attach(options(LoRARemask))
	l := b.lane(a)
	n := b.tower.linears[1]
	unmasked := b.forward(n, l)
	a.Remask(true)
	masked := b.forward(n, l)
	a.Remask(false)
	if equal(unmasked, masked) || !equal(unmasked, b.forward(n, l)) {
		t.Error("the mask must change the student while it is on, and only then")
	}
}

func TestLostUpdates(t *testing.T) {
	b := newBench(t, kernels.BF16)
	o := options(SparseLoRA)
	o.Round = kernels.BF16
	a := b.attach(o)
	l := b.lane(a)
	m := a.Merger(l)
	got := b.merged(m)
	r := m.Report()
	if len(r.Layers) != 3 || r.Inexact != 0 {
		t.Fatalf("report %+v", r)
	}
	for i, n := range b.tower.linears {
		// Counted again from W, A and B.
		w, fa, fb := b.floats(n.Weight.Value), b.floats(n.A.View(l.Values)), b.floats(n.B.View(l.Values))
		kept, lost := 0, 0
		for j := range w {
			if k := b.masks[n]; k != nil && !k[j] {
				continue
			}
			kept++
			sum := float32(0)
			for r := range n.A.Rows {
				sum += float32(fb[j/n.In()*n.A.Rows+r] * fa[r*n.In()+j%n.In()])
			}
			if sum != 0 && got[n.Weight.Name][j] == w[j] {
				lost++
			}
		}
		layer := r.Layers[i]
		if layer.Name != n.Weight.Name || layer.Kept != kept || layer.Updated != kept || layer.Lost != lost || lost == 0 || lost == kept {
			t.Errorf("%+v, want %d kept and %d lost", layer, kept, lost)
		}
	}
	if share := r.Lost(); share <= 0 || share >= 1 {
		t.Errorf("share %v", share)
	}
}

func TestInexactValues(t *testing.T) {
	b := newBench(t, kernels.F32)
	m := NewMerger(&model.Lane{Stream: b.stream, Pool: model.NewPool(b.device)}, b.tower, kernels.BF16)
	b.merged(m)
	// The bias of 10 and the norm of 8 random float32.
	if r := m.Report(); r.Inexact != 18 || len(r.Layers) != 0 {
		t.Errorf("report %+v", r)
	}
	l := &model.Lane{Stream: b.stream, Pool: model.NewPool(b.device)}
	before := b.floats(b.tower.linears[1].Weight.Value)
	if err := RoundFrozen(context.Background(), l, b.tower, kernels.BF16); err != nil {
		t.Fatal(err)
	}
	m = NewMerger(l, b.tower, kernels.BF16)
	b.merged(m)
	if r := m.Report(); r.Inexact != 0 || !equal(before, b.floats(b.tower.linears[1].Weight.Value)) {
		t.Errorf("after rounding: report %+v", r)
	}
}
