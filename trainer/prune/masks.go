package prune

import (
	"context"
	"errors"
	"fmt"
	"io"

	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/model"
)

// Entry is the mask of one weight.
type Entry struct {
	Name string // of the parameter, canonical
	Mask sparse.Mask
}

// Masks are the masks of a model, or of a part of it. Their order is canonical
// where they were computed and by name where they were loaded; nothing depends
// on it.
type Masks []Entry

// Of returns the mask of the parameter of that name.
func (m Masks) Of(name string) (sparse.Mask, bool) {
	for _, e := range m {
		if e.Name == name {
			return e.Mask, true
		}
	}
	return sparse.Mask{}, false
}

// Sparsity returns the share of masked weights that are pruned, 0 without masks.
func (m Masks) Sparsity() float64 {
	kept, total := 0, 0
	for _, e := range m {
		kept, total = kept+e.Mask.Count(), total+e.Mask.Rows*e.Mask.Cols
	}
	if total == 0 {
		return 0
	}
	return float64(total-kept) / float64(total)
}

// Only returns the masks of the linears of the towers, in their canonical order:
// what a rank with some stages of a model needs.
func (m Masks) Only(towers ...model.Tower) Masks {
	byName := m.index()
	var out Masks
	for _, t := range towers {
		for _, n := range t.Linears() {
			if mask, ok := byName[n.Weight.Name]; ok {
				out = append(out, Entry{n.Weight.Name, mask})
			}
		}
	}
	return out
}

// Check verifies that every mask fulfils a pattern.
func (m Masks) Check(p sparse.Pattern) error {
	for _, e := range m {
		if err := p.Check(e.Mask); err != nil {
			return fmt.Errorf("mask of %s: %w", e.Name, err)
		}
	}
	return nil
}

func (m Masks) index() map[string]sparse.Mask {
	byName := make(map[string]sparse.Mask, len(m))
	for _, e := range m {
		byName[e.Name] = e.Mask
	}
	return byName
}

// Applied are masks on a device, set on the linears of a model.
type Applied struct {
	device  kernels.Device
	linears []*model.Linear
}

// Apply uploads masks and sets them on the linears of the towers. Every mask must
// find its linear; use [Masks.Only] where the towers are a part of the model. A
// failure leaves the towers as they were.
func (m Masks) Apply(ctx context.Context, d kernels.Device, towers ...model.Tower) (_ *Applied, err error) {
	linears := map[string]*model.Linear{}
	for _, t := range towers {
		for _, n := range t.Linears() {
			linears[n.Weight.Name] = n
		}
	}
	s, err := d.NewStream()
	if err != nil {
		return nil, fmt.Errorf("apply masks: %w", err)
	}
	a := &Applied{device: d}
	defer func() {
		if err = errors.Join(err, s.Close()); err != nil {
			a.Release()
		}
	}()
	for _, e := range m {
		n := linears[e.Name]
		switch {
		case n == nil:
			return nil, fmt.Errorf("apply masks: no linear layer has the weight %s", e.Name)
		case !n.Mask.IsZero():
			return nil, fmt.Errorf("apply masks: %s has a mask already", e.Name)
		case e.Mask.Rows != n.Out() || e.Mask.Cols != n.In():
			return nil, fmt.Errorf("apply masks: mask of %s is (%d, %d), the weight (%d, %d)", e.Name, e.Mask.Rows, e.Mask.Cols, n.Out(), n.In())
		}
		t, err := e.Mask.Upload(d, s)
		if err != nil {
			return nil, fmt.Errorf("apply masks: %s: %w", e.Name, err)
		}
		n.Mask, n.Kept, n.TwoOfFour = t, e.Mask.Count(), e.Mask.TwoOfFour()
		a.linears = append(a.linears, n)
	}
	return a, s.Synchronize(ctx)
}

// Release takes the masks off and frees them. Streams that used them must be
// synchronised.
func (a *Applied) Release() {
	for _, n := range a.linears {
		a.device.Free(n.Mask.Buffer)
		n.Mask, n.Kept, n.TwoOfFour = kernels.Tensor{}, 0, false
	}
	a.linears = nil
}

// Entries returns what writes the masks into masks.safetensors: BOOL tensors of
// the weights' shapes, 1 = kept, under canonical names.
func (m Masks) Entries() []safetensors.Entry {
	var entries []safetensors.Entry
	for _, e := range m {
		entries = append(entries, safetensors.Entry{
			Name: e.Name, DType: safetensors.Bool, Shape: []int{e.Mask.Rows, e.Mask.Cols},
			Write: func(w io.Writer) error {
				_, err := w.Write(e.Mask.ToBools())
				return err
			},
		})
	}
	return entries
}

// FromFolder returns the masks that a checkpoint folder holds, by name; none
// where it has no masks.safetensors.
func FromFolder(f *hf.Folder) (Masks, error) {
	var masks Masks
	for _, name := range f.MaskNames() {
		words, rows, cols, err := f.Mask(name)
		if err != nil {
			return nil, err
		}
		masks = append(masks, Entry{name, sparse.Mask{Rows: rows, Cols: cols, Words: words}})
	}
	return masks, nil
}

// Save writes masks.safetensors from [Masks.Entries], under the names that spell
// gives them (nil: the canonical ones). The bytes depend on masks, names and
// metadata alone. The file appears completely or not at all.
func (m Masks) Save(ctx context.Context, path string, spell func(canonical string) string, metadata map[string]string) (safetensors.Written, error) {
	entries := m.Entries()
	for i := range entries {
		if spell != nil {
			entries[i].Name = spell(entries[i].Name)
		}
	}
	return safetensors.Write(ctx, path, entries, metadata)
}

// Load reads masks.safetensors. canonical maps names of the file to those of the
// parameters (nil: they are the same). It fails on other dtypes and ranks, on
// bytes other than 0 and 1, and on two tensors for one parameter.
func Load(path string, canonical func(name string) string) (Masks, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	masks, err := load(f, canonical)
	return masks, errors.Join(err, f.Close())
}

func load(f *safetensors.File, canonical func(string) string) (Masks, error) {
	var masks Masks
	seen := map[string]string{}
	for _, stored := range f.Names() {
		t, err := f.Tensor(stored)
		if err != nil {
			return nil, err
		}
		if t.DType != safetensors.Bool || len(t.Shape) != 2 {
			return nil, fmt.Errorf("%s: tensor %q is %v %v, expected BOOL of two dimensions", f.Path(), stored, t.DType, t.Shape)
		}
		mask, err := sparse.FromBools(t.Shape[0], t.Shape[1], t.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: tensor %q: %w", f.Path(), stored, err)
		}
		name := stored
		if canonical != nil {
			name = canonical(stored)
		}
		if other, twice := seen[name]; twice {
			return nil, fmt.Errorf("%s: tensors %q and %q are both the mask of %s", f.Path(), other, stored, name)
		}
		seen[name] = stored
		masks = append(masks, Entry{name, mask})
	}
	return masks, nil
}
