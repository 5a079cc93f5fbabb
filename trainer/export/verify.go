package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"ressa/kernels/sparse"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/prune"
)

// ErrVerify is returned when what was read back is not what was to be written.
var ErrVerify = errors.New("the written checkpoint is wrong")

// verify reads the folder back and compares it with what was merged.
func (e *exporter) verify(ctx context.Context, dir string) (err error) {
	f, err := hf.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if got := len(f.Names()); got != len(e.sums) {
		return fmt.Errorf("found %d tensors, expected %d: %w", got, len(e.sums), ErrVerify)
	}
	for _, name := range f.Names() {
		t, err := f.Tensor(name)
		if err != nil {
			return err
		}
		if sum, ok := e.sums[name]; !ok || sha256.Sum256(t.Data) != sum {
			return fmt.Errorf("tensor %q differs from what was merged: %w", name, ErrVerify)
		}
	}
	masks, err := prune.FromFolder(f)
	if err != nil {
		return err
	}
	if len(masks) != len(e.spec.Masks) {
		return fmt.Errorf("found %d masks, expected %d: %w", len(masks), len(e.spec.Masks), ErrVerify)
	}
	for _, want := range e.spec.Masks {
		if got, ok := masks.Of(want.Name); !ok || !got.Equal(want.Mask) {
			return fmt.Errorf("mask of %q differs: %w", want.Name, ErrVerify)
		}
	}
	if err := Check(f, masks, sparse.Pattern{}); err != nil {
		return err
	}
	for _, t := range e.spec.Towers {
		if err := masks.Only(t.Tower).Check(t.Pattern); err != nil {
			return fmt.Errorf("%w: %w", err, ErrVerify)
		}
	}
	e.result.Hash, err = f.Hash(ctx)
	return err
}

// Check verifies that the weights of a folder are +0.0, bit for bit, wherever
// their mask prunes them, and that every mask fulfils a pattern, the zero Pattern
// asking for nothing. It serves for any checkpoint with masks.
func Check(f *hf.Folder, masks prune.Masks, p sparse.Pattern) error {
	if err := masks.Check(p); err != nil {
		return fmt.Errorf("%w: %w", err, ErrVerify)
	}
	for _, m := range masks {
		t, err := f.Tensor(m.Name)
		if err != nil {
			return err
		}
		if err := checkZeros(t, m.Mask); err != nil {
			return fmt.Errorf("tensor %q: %w: %w", m.Name, err, ErrVerify)
		}
	}
	return nil
}

func checkZeros(t safetensors.Tensor, m sparse.Mask) error {
	size := t.DType.Size()
	if len(t.Data) != m.Rows*m.Cols*size {
		return fmt.Errorf("found %d bytes, expected %d", len(t.Data), m.Rows*m.Cols*size)
	}
	for r := range m.Rows {
		row := m.Row(r)
		for c := range m.Cols {
			if row[c/64]>>(c%64)&1 != 0 {
				continue
			}
			at := (r*m.Cols + c) * size
			for _, b := range t.Data[at : at+size] {
				if b != 0 {
					return fmt.Errorf("pruned weight (%d, %d) has the bytes % x, expected zeros", r, c, t.Data[at:at+size])
				}
			}
		}
	}
	return nil
}
