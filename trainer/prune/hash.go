package prune

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"

	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/model"
)

// Digest is the SHA-256 of one parameter with its name, dtype, shape and mask.
type Digest struct {
	Name   string
	SHA256 [sha256.Size]byte
}

// BaseHash returns the SHA-256, in hexadecimal, of what training does not change:
// the digests of every parameter of the towers, in canonical order, each behind
// the length of its name and its name. Checkpoints carry it, so that an adapter is
// never joined to another base.
func BaseHash(digests []Digest) string {
	h := sha256.New()
	for _, d := range digests {
		head := binary.LittleEndian.AppendUint64(nil, uint64(len(d.Name)))
		h.Write(append(append(head, d.Name...), d.SHA256[:]...)) // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Digests returns those of the parameters of a tower or a stage, in canonical
// order. Weights at masked positions count as zero; where the pruner rewrote a
// weight, the rewritten one counts. Those that are known are not computed again: by
// name, of the same values and masks.
func Digests(ctx context.Context, l *model.Lane, masks Masks, t model.Tower, known map[string]Digest) ([]Digest, error) {
	byName := masks.index()
	rewritten := map[*model.Param]kernels.Tensor{}
	for _, n := range t.Linears() {
		if !n.Pruned.IsZero() {
			rewritten[n.Weight] = n.Pruned
		}
	}
	var out []Digest
	for _, p := range t.Params() {
		if d, ok := known[p.Name]; ok {
			out = append(out, d)
			continue
		}
		value := p.Value
		if w, ok := rewritten[p]; ok {
			value = w
		}
		raw := make([]byte, value.Bytes())
		l.Stream.Download(raw, value)
		if err := l.Stream.Synchronize(ctx); err != nil {
			return nil, fmt.Errorf("hash %s: %w", p.Name, err)
		}
		h := sha256.New()
		if err := hashParam(h, p, value, raw, byName[p.Name]); err != nil {
			return nil, fmt.Errorf("hash %s: %w", p.Name, err)
		}
		out = append(out, Digest{p.Name, [sha256.Size]byte(h.Sum(nil))})
	}
	return out, nil
}

// hashParam feeds one parameter; lengths before contents make the text unique.
func hashParam(h hash.Hash, p *model.Param, value kernels.Tensor, raw []byte, mask sparse.Mask) error {
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(p.Name)))
	head = append(append(head, p.Name...), byte(value.DType), byte(len(p.Shape)))
	for _, d := range p.Shape {
		head = binary.LittleEndian.AppendUint64(head, uint64(d))
	}
	head = binary.LittleEndian.AppendUint64(head, uint64(len(mask.Words)))
	h.Write(head) // a hash never fails
	if mask.IsZero() {
		h.Write(raw)
		return nil
	}
	if mask.Rows != value.Rows || mask.Cols != value.Cols {
		return fmt.Errorf("mask is (%d, %d), the weight (%d, %d)", mask.Rows, mask.Cols, value.Rows, value.Cols)
	}
	zero(raw, value.DType.Size(), mask)
	h.Write(raw)
	h.Write(mask.Bytes())
	return nil
}

// zero clears the elements that a mask drops.
func zero(raw []byte, size int, mask sparse.Mask) {
	for r := range mask.Rows {
		row := mask.Row(r)
		for c := range mask.Cols {
			if row[c/64]>>(c%64)&1 == 0 {
				i := (r*mask.Cols + c) * size
				clear(raw[i : i+size])
			}
		}
	}
}
