package adapter

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"

	"ressa/kernels"
	"ressa/trainer/model"
	"ressa/trainer/random"
)

// site separates these numbers from other uses of the job's seed.
const site random.Site = 0x41_42 // "AB"

// Init writes the initial values into values, F32 (1, Layout.Len): A uniform in
// ±1/√in (PyTorch's kaiming_uniform_ with a = √5, as LoRA and PEFT start), B zero,
// a trained weight W⊙M (of the pruner's W where it rewrote it), any other trained
// parameter its own value. Gaps are zero. A's numbers depend on the seed and the
// tensor's name alone. It returns after the stream was synchronised.
func (a *Attachment) Init(ctx context.Context, s kernels.Stream, values kernels.Tensor, seed uint64) error {
	if a.Layout.Len == 0 {
		return nil
	}
	if values.DType != kernels.F32 || values.Rows != 1 || values.Cols != a.Layout.Len {
		return fmt.Errorf("adapter: values are %v, want fp32 (1, %d)", values, a.Layout.Len)
	}
	s.Fill(values, 0)
	linears := map[*model.Param]*model.Linear{}
	for _, n := range a.tower.Linears() {
		linears[n.Weight] = n
		if n.A == nil {
			continue
		}
		s.Upload(n.A.View(values), kernels.EncodeF32(KaimingUniform(n.A, seed)))
	}
	for _, p := range a.tower.Params() {
		if p.Slot == nil {
			continue
		}
		if n := linears[p]; n != nil {
			s.EffectiveWeight(p.Slot.View(values), kernels.LinearWeight{W: base(n), Mask: n.Mask, Round: kernels.F32})
			continue
		}
		s.Convert(p.Slot.View(values), p.Value)
	}
	if err := s.Synchronize(ctx); err != nil {
		return fmt.Errorf("adapter: initial values: %w", err)
	}
	return nil
}

// KaimingUniform returns the initial values of a factor A, row by row: uniform
// in [-b, b) with b = √6/√((1+a²)·in) = 1/√in for a = √5.
func KaimingUniform(slot *model.Slot, seed uint64) []float32 {
	h := fnv.New64a()
	h.Write([]byte(slot.Name)) // never fails
	key := h.Sum64()
	r := random.New(seed, uint32(key), uint32(key>>32), site)
	bound := 1 / math.Sqrt(float64(slot.Cols))
	out := make([]float32, slot.Len())
	for i := range out {
		// 2u−1 is exact, the product is rounded twice in a fixed way.
		out[i] = float32(float64((2*float64(r.Float32()) - 1) * bound))
	}
	return out
}

// base returns the frozen weight that the student starts from.
func base(n *model.Linear) kernels.Tensor {
	if !n.Pruned.IsZero() {
		return n.Pruned
	}
	return n.Weight.Value
}
