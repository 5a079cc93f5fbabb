package llava

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/model"
)

// Pack replaces the weights of linears of the model, which must have masks, by what
// the masks keep, one after the other: the device holds at most one of them twice.
// Nothing may need them dense any more: neither a teacher nor a pruner. The masks
// must stay. Streams that use the weights must be synchronised. A failure leaves the
// rest dense.
func (m *Model) Pack(ctx context.Context, s kernels.Stream, linears ...*model.Linear) error {
	for _, n := range linears {
		if err := m.pack(ctx, s, n); err != nil {
			return fmt.Errorf("pack %s: %w", n.Weight.Name, err)
		}
	}
	return nil
}

func (m *Model) pack(ctx context.Context, s kernels.Stream, n *model.Linear) error {
	w := n.Weight.Value
	if w.IsZero() || n.Mask.IsZero() {
		return fmt.Errorf("found weight %v and mask %v, want both", w, n.Mask)
	}
	at := slices.Index(m.owned, w.Buffer)
	if at < 0 {
		return fmt.Errorf("the weight is not the model's")
	}
	dense, words := make([]byte, w.Bytes()), make([]byte, n.Mask.Bytes())
	s.Download(dense, w)
	s.Download(words, n.Mask)
	if err := s.Synchronize(ctx); err != nil {
		return err
	}
	mask := sparse.New(w.Rows, w.Cols)
	for i := range mask.Words {
		mask.Words[i] = binary.LittleEndian.Uint64(words[8*i:])
	}
	packed, err := sparse.Pack(mask, w.DType, dense)
	if err != nil {
		return err
	}
	p, err := packed.Upload(m.device, s)
	if err != nil {
		return err
	}
	if err := s.Synchronize(ctx); err != nil {
		m.device.Free(p.Values.Buffer)
		m.device.Free(p.Offsets.Buffer)
		return err
	}
	m.device.Free(w.Buffer)
	m.owned = append(slices.Delete(m.owned, at, at+1), p.Values.Buffer, p.Offsets.Buffer)
	n.Weight.Value, n.Weight.Packed = kernels.Tensor{}, p
	return nil
}
