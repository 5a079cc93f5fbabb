package adapter

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/trainer/model"
)

func options(m Method) Options { return Options{Method: m, Rank: 4, Alpha: 8, Projector: true} }

func TestLayoutNames(t *testing.T) {
	up, down, projector := "model.language_model.layers.0.mlp.up_proj", "model.language_model.layers.0.mlp.down_proj", "model.multi_modal_projector.linear_1"
	factors := func(modules ...string) (names []string) {
		for _, m := range modules {
			names = append(names, m+".lora_A.weight", m+".lora_B.weight")
		}
		return names
	}
	without := options(SparseLoRA)
	without.Projector = false
	for _, c := range []struct {
		o    Options
		want []string
	}{
		{options(SparseLoRA), factors(projector, up, down)},
		{without, factors(up, down)},
		{options(LoRARemask), factors(projector, up, down)},
		{options(Masked), []string{projector + ".weight", up + ".weight", down + ".weight"}},
		{options(Full), []string{projector + ".weight", up + ".weight", up + ".bias", down + ".weight", "model.language_model.norm.weight"}},
	} {
		a := newBench(t, kernels.F32).attach(c.o)
		var got []string
		for _, s := range a.Layout.Slots {
			got = append(got, s.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: slots %q, want %q", c.o.Method, got, c.want)
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	change := func(f func(*Options)) Options {
		o := options(SparseLoRA)
		f(&o)
		return o
	}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{change(func(o *Options) { o.Rank = 0 }), "rank 0"},
		{change(func(o *Options) { o.Rank = 7 }), "linear_1.weight (8, 6)"},
		{change(func(o *Options) { o.Alpha = 0 }), "alpha 0"},
		{change(func(o *Options) { o.Alpha = math.NaN() }), "alpha NaN"},
		{change(func(o *Options) { o.Round = kernels.U64 }), "uint64"},
		{change(func(o *Options) { o.Method = "lor" }), `"lor"`},
		{options(LoRA), "up_proj.weight, which has a mask"},
	} {
		b := newBench(t, kernels.F32)
		_, err := Attach(context.Background(), b.device, b.tower, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.o, err, c.want)
		}
		for _, n := range b.tower.linears {
			if n.A != nil || n.Weight.Slot != nil {
				t.Errorf("%+v: %s was changed", c.o, n.Weight.Name)
			}
		}
	}
	b := newBench(t, kernels.F32)
	b.attach(options(SparseLoRA))
	if _, err := Attach(context.Background(), b.device, b.tower, options(Masked)); err == nil {
		t.Error("attached twice")
	}
}

func TestDetachRestores(t *testing.T) {
	for _, m := range []Method{SparseLoRA, LoRARemask, Masked, Full} {
		b := newBench(t, kernels.F32)
		var before []model.Linear
		for _, n := range b.tower.linears {
			before = append(before, *n)
		}
		b.attach(options(m)).Detach()
		for i, n := range b.tower.linears {
			if *n != before[i] || n.Weight.Slot != nil {
				t.Errorf("%s: %s is %+v, was %+v", m, n.Weight.Name, *n, before[i])
			}
		}
		for _, p := range b.tower.params {
			if p.Slot != nil {
				t.Errorf("%s: %s is still trained", m, p.Name)
			}
		}
	}
}

func TestInitialFactors(t *testing.T) {
	slot := &model.Slot{Name: "x.lora_A.weight", Rows: 64, Cols: 100}
	a := KaimingUniform(slot, 3)
	bound, squares := 1/math.Sqrt(100), 0.0
	for _, v := range a {
		if math.Abs(float64(v)) > bound {
			t.Fatalf("%v is outside ±%v", v, bound)
		}
		squares += float64(v) * float64(v)
	}
	// The variance of a uniform number in ±b is b²/3.
	if got, want := squares/float64(len(a)), bound*bound/3; math.Abs(got/want-1) > 0.05 {
		t.Errorf("variance %v, want %v", got, want)
	}
	if !equal(a, KaimingUniform(&model.Slot{Name: "x.lora_A.weight", Rows: 64, Cols: 100, Offset: 4096}, 3)) {
		t.Error("the numbers depend on where the slot lies")
	}
	if equal(a, KaimingUniform(slot, 4)) || equal(a, KaimingUniform(&model.Slot{Name: "y.lora_A.weight", Rows: 64, Cols: 100}, 3)) {
		t.Error("the numbers do not depend on seed or name")
	}
}

func TestInitialValues(t *testing.T) {
	for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
		b := newBench(t, d)
		a := b.attach(options(Masked))
		l := b.lane(a)
		for _, n := range b.tower.linears {
			w, got := b.floats(n.Weight.Value), b.floats(n.Weight.Slot.View(l.Values))
			for i := range w {
				if kept := b.masks[n]; kept != nil && !kept[i] {
					w[i] = 0
				}
			}
			if !equal(got, w) {
				t.Errorf("%v: %s does not start as W⊙M", d, n.Weight.Name)
			}
		}
		b = newBench(t, d)
		a = b.attach(options(Full))
		l = b.lane(a)
		norm := b.tower.params[len(b.tower.params)-1]
		if !equal(b.floats(norm.Slot.View(l.Values)), b.floats(norm.Value)) {
			t.Errorf("%v: %s does not start as itself", d, norm.Name)
		}
	}
}
