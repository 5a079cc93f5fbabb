package adapter

import (
	"context"
	"fmt"
	"strings"

	"ressa/kernels"
	"ressa/trainer/model"
)

// Attachment is what [Attach] put on one tower.
type Attachment struct {
	Layout  *model.Layout
	Options Options

	device kernels.Device
	tower  model.Tower
	layers []*model.Linear                  // those with factors or a slot on the weight
	remask map[*model.Linear]kernels.Tensor // masks taken off for training
	pruned []*model.Linear                  // whose Pruned is ours
}

// Round sets the dtype that the student's effective weights of a tower are
// rounded to. [Attach] does so itself; a pruned model that is evaluated before
// it, or without one, needs the call.
func Round(tower model.Tower, d kernels.DType) {
	for _, n := range tower.Linears() {
		n.Round = d
	}
}

// RoundFrozen rounds every parameter of a tower to d and back, in place, but for
// the weights of its linears, whose effective weight is rounded as a whole. With
// it, student, teacher and the exported checkpoint agree on norms, biases,
// embeddings and head when a model stored in float32 is exported in bf16. It is
// called once, after loading; for F32 it does nothing.
func RoundFrozen(ctx context.Context, l *model.Lane, tower model.Tower, d kernels.DType) error {
	return roundOthers(ctx, l, tower, d, func(p *model.Param) kernels.Tensor { return p.Value })
}

// RoundTrained does the same to what [Full] trained beside the weights of the
// linears, so that the student that is scored is the one that is exported. It is
// called once, after the last step, with a lane of the tower; for other methods it
// does nothing.
func (a *Attachment) RoundTrained(ctx context.Context, l *model.Lane) error {
	if a.Options.Method != Full {
		return nil
	}
	return roundOthers(ctx, l, a.tower, a.Options.Round, func(p *model.Param) kernels.Tensor { return p.Slot.View(l.Values) })
}

// roundOthers rounds the tensors of a tower's parameters, but for the weights of
// its linears, to d and back.
func roundOthers(ctx context.Context, l *model.Lane, tower model.Tower, d kernels.DType, of func(*model.Param) kernels.Tensor) error {
	linears := map[*model.Param]bool{}
	for _, n := range tower.Linears() {
		linears[n.Weight] = true
	}
	for _, p := range tower.Params() {
		t := of(p)
		if linears[p] || d == kernels.F32 || t.DType == d {
			continue
		}
		rounded := l.Pool.Get(d, t.Rows, t.Cols)
		l.Stream.Convert(rounded, t)
		l.Stream.Convert(t, rounded)
		l.Free(rounded)
	}
	if err := l.Stream.Synchronize(ctx); err != nil {
		return fmt.Errorf("adapter: round parameters: %w", err)
	}
	return nil
}

// Attach gives every linear that the options choose its slots, in the canonical
// order of the tower's linears (of its parameters for [Full]), and returns the
// layout. Masks must be on the linears already. It fails on bad options, on a
// rank above a layer's smaller side, on a tower that carries an attachment and
// when the device has no memory for the pruned copies of [LoRARemask]; the tower
// is then unchanged but for the rounding of its effective weights.
func Attach(ctx context.Context, d kernels.Device, tower model.Tower, o Options) (*Attachment, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	a := &Attachment{Layout: &model.Layout{}, Options: o, device: d, tower: tower, remask: map[*model.Linear]kernels.Tensor{}}
	for _, p := range tower.Params() {
		if p.Slot != nil {
			return nil, fmt.Errorf("adapter: %s is trained already", p.Name)
		}
	}
	for _, n := range tower.Linears() {
		if n.A != nil {
			return nil, fmt.Errorf("adapter: %s carries an adapter already", n.Weight.Name)
		}
		if tower.Prunable(n) || o.Projector && isProjector(n.Weight.Name) {
			if err := a.accepts(n); err != nil {
				return nil, err
			}
			a.layers = append(a.layers, n)
		}
	}
	Round(tower, o.Round)
	if o.Method == Full {
		a.layers = nil
		for _, p := range tower.Params() {
			p.Slot = a.Layout.Add(p.Name, p.Value.Rows, p.Value.Cols)
		}
		return a, nil
	}
	if o.Method == LoRARemask {
		if err := a.prune(ctx); err != nil {
			a.Detach()
			return nil, err
		}
	}
	for _, n := range a.layers {
		if o.Method == Masked {
			n.Weight.Slot = a.Layout.Add(n.Weight.Name, n.Out(), n.In())
			n.Weight.Slot.Mask, n.Weight.Slot.Kept = n.Mask, n.Kept
			continue
		}
		module := Module(n.Weight.Name)
		n.A = a.Layout.Add(module+".lora_A.weight", o.Rank, n.In())
		n.B = a.Layout.Add(module+".lora_B.weight", n.Out(), o.Rank)
		n.Scale = float32(o.Alpha / float64(o.Rank))
	}
	return a, nil
}

// accepts verifies that the method fits a layer.
func (a *Attachment) accepts(n *model.Linear) error {
	if a.Options.Method == LoRA && !n.Mask.IsZero() {
		return fmt.Errorf("adapter: method lora would fill the zeros of %s, which has a mask; use sparselora or lora-remask", n.Weight.Name)
	}
	if a.Options.Method.LowRank() && a.Options.Rank > min(n.In(), n.Out()) {
		return fmt.Errorf("adapter rank %d exceeds the smaller side of %s (%d, %d)", a.Options.Rank, n.Weight.Name, n.Out(), n.In())
	}
	return nil
}

// prune gives the student copies of the masked weights that hold W⊙M, unless the
// pruner left rewritten ones there, and takes the masks off.
func (a *Attachment) prune(ctx context.Context) error {
	s, err := a.device.NewStream()
	if err != nil {
		return fmt.Errorf("adapter: %w", err)
	}
	for _, n := range a.layers {
		if n.Mask.IsZero() {
			continue
		}
		a.remask[n] = n.Mask
		if !n.Pruned.IsZero() {
			n.Mask = kernels.Tensor{}
			continue
		}
		w := n.Weight.Value
		b, err := a.device.Alloc(w.Bytes())
		if err != nil {
			_ = s.Close() // the allocation's error says more
			return fmt.Errorf("adapter: pruned copy of %s: %w", n.Weight.Name, err)
		}
		a.pruned = append(a.pruned, n)
		n.Pruned = kernels.NewTensor(b, w.DType, w.Rows, w.Cols)
		// In the dtype of W nothing is rounded but to itself.
		s.EffectiveWeight(n.Pruned, kernels.LinearWeight{W: w, Mask: n.Mask, Round: w.DType})
		n.Mask = kernels.Tensor{}
	}
	if err := s.Synchronize(ctx); err != nil {
		_ = s.Close() // it reports the same error
		return fmt.Errorf("adapter: pruned copies: %w", err)
	}
	return s.Close()
}

// Remask turns the masks of a [LoRARemask] student on or off, so that what is
// evaluated is what [Merger] will write. Other methods always train
// under their masks; for them it does nothing. It must not be called while the
// tower computes.
func (a *Attachment) Remask(on bool) {
	for n, mask := range a.remask {
		if on {
			n.Mask = mask
		} else {
			n.Mask = kernels.Tensor{}
		}
	}
}

// Detach takes everything off again, puts the masks back and frees the pruned
// copies. All streams that computed with the tower must be synchronised.
func (a *Attachment) Detach() {
	for n, mask := range a.remask {
		n.Mask = mask
	}
	for _, n := range a.layers {
		n.A, n.B, n.Scale = nil, nil, 0
		n.Weight.Slot = nil
	}
	if a.Options.Method == Full {
		for _, p := range a.tower.Params() {
			p.Slot = nil
		}
	}
	for _, n := range a.pruned {
		a.device.Free(n.Pruned.Buffer)
		n.Pruned = kernels.Tensor{}
	}
	a.pruned, a.layers, a.remask = nil, nil, map[*model.Linear]kernels.Tensor{}
}

// Module returns the module path of a parameter: its name without the last part.
func Module(param string) string {
	if i := strings.LastIndexByte(param, '.'); i >= 0 {
		return param[:i]
	}
	return param
}

// isProjector tells by the canonical name whether a linear belongs to what joins
// the towers, over the families' spellings.
func isProjector(name string) bool {
	for _, part := range strings.Split(name, ".") {
		switch part {
		case "multi_modal_projector", "connector", "language_projection", "qformer":
			return true
		}
	}
	return false
}
