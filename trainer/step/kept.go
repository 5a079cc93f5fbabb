package step

import (
	"context"

	"ressa/kernels"
	"ressa/trainer/model"
)

// exchanged returns how many elements of a gradient the holders of a node exchange:
// of slots under a mask those that it keeps, since the others are +0.
func exchanged(l *model.Layout) int {
	if !masked(l) {
		return l.Len
	}
	n := 0
	for _, s := range l.Slots {
		n += keptOf(s)
	}
	return n
}

// masked reports whether a mask drops elements of a layout.
func masked(l *model.Layout) bool {
	for _, s := range l.Slots {
		if keptOf(s) < s.Len() {
			return true
		}
	}
	return false
}

// keptOf returns the elements of a slot that are exchanged. A mask whose ones were
// not counted counts as none.
func keptOf(s *model.Slot) int {
	if s.Mask.IsZero() || s.Kept == 0 {
		return s.Len()
	}
	return s.Kept
}

// readExchanged copies to the host what is exchanged of a gradient. Kept elements are
// packed on the device, in the slots of another gradient, so that no others move.
func (p *pass) readExchanged(ctx context.Context, node int, grad kernels.Tensor) ([]float32, error) {
	layout, s := p.vectors[node].Layout, p.Engine.sums
	if !masked(layout) {
		return ReadVector(ctx, s, grad)
	}
	packed, err := p.grads[node].get()
	if err != nil {
		return nil, err
	}
	defer p.grads[node].put(packed)
	raw := make([]byte, kernels.F32.Size()*exchanged(layout))
	each(layout, packed, raw, func(slot *model.Slot, part kernels.Tensor, host []byte) {
		if part.Cols == slot.Len() {
			part = grad.SliceCols(slot.Offset, slot.Offset+part.Cols)
		} else {
			s.PackKept(part, slot.View(grad), slot.Mask)
		}
		s.Download(host, part)
	})
	if err := s.Synchronize(ctx); err != nil {
		return nil, err
	}
	return kernels.DecodeF32(raw), nil
}

// writeExchanged is the inverse of readExchanged: what masks drop gets +0.
func (p *pass) writeExchanged(ctx context.Context, node int, grad kernels.Tensor, v []float32) error {
	layout, s := p.vectors[node].Layout, p.Engine.sums
	if !masked(layout) {
		return WriteVector(ctx, s, grad, v)
	}
	packed, err := p.grads[node].get()
	if err != nil {
		return err
	}
	defer p.grads[node].put(packed)
	each(layout, packed, kernels.EncodeF32(v), func(slot *model.Slot, part kernels.Tensor, host []byte) {
		if part.Cols == slot.Len() {
			s.Upload(grad.SliceCols(slot.Offset, slot.Offset+part.Cols), host)
			return
		}
		s.Upload(part, host)
		s.UnpackKept(slot.View(grad), part, slot.Mask)
	})
	return s.Synchronize(ctx)
}

// each calls f for every slot with the begin of its place in packed, and its part of
// raw, which follow each other.
func each(l *model.Layout, packed kernels.Tensor, raw []byte, f func(slot *model.Slot, part kernels.Tensor, host []byte)) {
	for _, s := range l.Slots {
		n := keptOf(s)
		bytes := n * kernels.F32.Size()
		f(s, packed.SliceCols(s.Offset, s.Offset+n), raw[:bytes:bytes])
		raw = raw[bytes:]
	}
}
