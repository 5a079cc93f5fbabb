package llava_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
)

// A model whose weights are packed computes the bits of the dense one, takes less
// memory by what its masks drop, and leaves none behind.
func TestPackedModelsGiveTheSameBits(t *testing.T) {
	ctx, d := context.Background(), &live{Device: reference.Open(), out: map[kernels.Buffer]bool{}}
	m, err := llava.New(ctx, d, smallConfig(), 7, llava.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, rng := newRig(t, d, m), rand.New(rand.NewPCG(5, 6))
	var linears []*model.Linear
	values := map[string][]float32{}
	for _, tw := range r.towers {
		for _, n := range tw.tower.Linears() {
			if !tw.tower.Prunable(n) {
				continue
			}
			keep := make([]byte, n.Out()*n.In())
			for i := range keep {
				keep[i] = byte(rng.IntN(2))
				n.Kept += int(keep[i])
			}
			n.Mask, n.Round, n.Scale = r.mask(keep, n.Out(), n.In()), kernels.BF16, 2
			n.A, n.B = tw.layout.Add(n.Weight.Name+".A", 3, n.In()), tw.layout.Add(n.Weight.Name+".B", n.Out(), 3)
			for _, s := range []*model.Slot{n.A, n.B} {
				for range s.Len() {
					values[s.Name] = append(values[s.Name], 0.2*float32(rng.NormFloat64()))
				}
			}
			linears = append(linears, n)
		}
	}
	r.allocate(values)
	batch := smallBatch(m.Config)
	want := r.step(batch, loss{ce: 1})
	bytes := func() (n int) {
		for b := range d.out {
			n += b.Bytes()
		}
		return n
	}
	before, saved := bytes(), 0
	for _, n := range linears {
		w := n.Weight.Value
		saved += w.Bytes() - n.Kept*w.DType.Size() - 4*kernels.MaskWords(w.Rows)*kernels.MaskWords(w.Cols)
	}
	if err := m.Pack(ctx, r.stream, linears...); err != nil {
		t.Fatal(err)
	}
	if got := before - bytes(); got != saved || saved <= 0 {
		t.Errorf("packing freed %d bytes, want %d", got, saved)
	}
	got := r.step(batch, loss{ce: 1})
	if !sameBits(want.logits, got.logits) {
		t.Error("the logits differ")
	}
	for name, g := range want.grads {
		if !sameBits(g, got.grads[name]) {
			t.Errorf("the gradient of %s differs", name)
		}
	}
	if err := m.Pack(ctx, r.stream, linears[0]); err == nil {
		t.Error("a weight was packed twice")
	}
	if hidden, _ := r.forward(batch, model.Dense, false); !hidden.IsZero() && r.stream.Synchronize(ctx) == nil {
		t.Error("a packed model computed its dense variant")
	}
	kept := llava.NewKept(d)
	kept.Take(m)
	kept.Close()
	r.pool.Close()
	for _, tw := range r.towers {
		for _, n := range tw.tower.Linears() {
			if !n.Mask.IsZero() {
				d.Free(n.Mask.Buffer)
			}
		}
		d.Free(tw.lane.Values.Buffer)
		d.Free(tw.lane.Grads.Buffer)
	}
	if len(d.out) != 0 {
		t.Errorf("%d buffers are left", len(d.out))
	}
}
