package prune

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/kernels/sparse"
	"ressa/trainer/checkpoint/safetensors"
)

func someMasks() Masks {
	a, b := sparse.New(3, 70), sparse.NewOnes(2, 4)
	a.Set(2, 69, true)
	b.Set(1, 0, false)
	return Masks{{"model.z.weight", a}, {"model.a.weight", b}}
}

func TestMasksRoundTrip(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "masks.safetensors")
	old := func(name string) string { return strings.Replace(name, "model.", "old.", 1) }
	canonical := func(name string) string { return strings.Replace(name, "old.", "model.", 1) }
	m := someMasks()
	first, err := m.Save(ctx, path, old, map[string]string{"format": "pt"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(path, canonical)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(m) {
		t.Fatalf("%d masks, want %d", len(got), len(m))
	}
	for _, e := range m {
		if mask, ok := got.Of(e.Name); !ok || !mask.Equal(e.Mask) {
			t.Errorf("%s differs after reading", e.Name)
		}
	}
	second, err := got.Save(ctx, path, old, map[string]string{"format": "pt"})
	if err != nil || second != first {
		t.Errorf("saved again: %+v, %v, want %+v", second, err, first)
	}
	if s := m.Sparsity(); s != float64(209+1)/float64(210+8) {
		t.Errorf("sparsity %v", s)
	}
}

func TestLoadRefuses(t *testing.T) {
	ctx := context.Background()
	for name, e := range map[string][]safetensors.Entry{
		"not BOOL": {safetensors.NewEntry("a", safetensors.Tensor{DType: safetensors.U8, Shape: []int{1, 2}, Data: []byte{0, 1}})},
		"a vector": {safetensors.NewEntry("a", safetensors.Tensor{DType: safetensors.Bool, Shape: []int{2}, Data: []byte{0, 1}})},
		"a two":    {safetensors.NewEntry("a", safetensors.Tensor{DType: safetensors.Bool, Shape: []int{1, 2}, Data: []byte{0, 2}})},
		"one parameter twice": {
			safetensors.NewEntry("a", safetensors.Tensor{DType: safetensors.Bool, Shape: []int{1, 1}, Data: []byte{1}}),
			safetensors.NewEntry("A", safetensors.Tensor{DType: safetensors.Bool, Shape: []int{1, 1}, Data: []byte{1}}),
		},
	} {
		path := filepath.Join(t.TempDir(), "masks.safetensors")
		if _, err := safetensors.Write(ctx, path, e, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, strings.ToLower); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one that names the file", name, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), nil); !os.IsNotExist(unwrapAll(err)) {
		t.Errorf("a missing file gives %v", err)
	}
}

func unwrapAll(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || u.Unwrap() == nil {
			return err
		}
		err = u.Unwrap()
	}
}

func TestApply(t *testing.T) {
	ctx, b := context.Background(), newBench(t)
	tw := &tower{linear: b.linear("model.z.weight", 3, 70, make([]float32, 210))}
	m := someMasks()
	if _, err := m.Apply(ctx, b.device, tw); err == nil || !strings.Contains(err.Error(), "model.a.weight") {
		t.Errorf("a mask without a linear gives %v", err)
	}
	if !tw.linear.Mask.IsZero() {
		t.Error("a failed Apply left a mask")
	}
	a, err := m.Only(tw).Apply(ctx, b.device, tw)
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, tw.linear.Mask.Bytes())
	b.lane.Stream.Download(raw, tw.linear.Mask)
	if string(raw) != string(m[0].Mask.Bytes()) {
		t.Error("the device holds another mask")
	}
	if n := tw.linear; n.Kept != 1 || !n.TwoOfFour {
		t.Errorf("%d weights are kept, at most two of four: %v", n.Kept, n.TwoOfFour)
	}
	if _, err := m.Only(tw).Apply(ctx, b.device, tw); err == nil {
		t.Error("applied twice")
	}
	a.Release()
	if !tw.linear.Mask.IsZero() || tw.linear.TwoOfFour {
		t.Error("the mask is still there")
	}
	if _, err := (Masks{{"model.z.weight", sparse.New(3, 71)}}).Apply(ctx, b.device, tw); err == nil || !strings.Contains(err.Error(), "(3, 71)") {
		t.Errorf("a mask of another shape gives %v", err)
	}
}

func TestBaseHash(t *testing.T) {
	ctx := context.Background()
	sum := func(name string, w []float32, masks Masks) string {
		b := newBench(t)
		digests, err := Digests(ctx, b.lane, masks, &tower{linear: b.linear(name, 2, 2, w)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return BaseHash(digests)
	}
	mask := sparse.NewOnes(2, 2)
	mask.Set(0, 1, false)
	masks, w := Masks{{"w", mask}}, []float32{1, 2, 3, 4}
	base := sum("w", w, masks)
	if sum("w", []float32{1, -9, 3, 4}, masks) != base {
		t.Error("a pruned weight shows in the hash")
	}
	for what, other := range map[string]string{
		"a kept weight": sum("w", []float32{1, 2, 3, 5}, masks),
		"no mask":       sum("w", w, nil),
		"the name":      sum("v", w, masks),
		"another mask":  sum("w", []float32{1, 0, 3, 4}, Masks{{"w", sparse.NewOnes(2, 2)}}),
	} {
		if other == base {
			t.Errorf("%s does not show in the hash", what)
		}
	}
}
