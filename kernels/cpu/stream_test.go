//go:build cgo

package cpu

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"ressa/kernels"
)

func TestOpenRejects(t *testing.T) {
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{Variant: "sse"}, `variant "sse" is not one of`},
		{Options{Threads: -1}, "-1 threads"},
	} {
		if _, err := Open(c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v gave %v, want an error with %q", c.options, err, c.want)
		}
	}
}

func TestKindNamesVariantVersionAndCompiler(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		kind := newRig(t, Options{Variant: variant}).dev.Kind()
		want := "cpu-" + variant + "/3+"
		if variant == "generic" { // the same C on another processor may round otherwise
			want = "cpu-generic-" + runtime.GOARCH + "/3+"
		}
		if !strings.HasPrefix(kind, want) || len(kind) == len(want) {
			t.Errorf("kind is %s, want %s and a compiler", kind, want)
		}
	})
}

// Streams of one device compete for its workers; neither the bits nor the end of
// an operation may depend on who gets them.
func TestStreamsRunTogether(t *testing.T) {
	dev, err := OpenSharing(Options{Threads: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	var results [3][]float32
	var together sync.WaitGroup
	for i := range results {
		s, err := dev.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r := &rig{t: t, dev: dev, s: s, rng: newRig(t, Options{Threads: 1}).rng}
		l := newLayer(r, 130, 70, 200, 3)
		run := func() {
			for range 50 {
				s.LinearForward(l.y, l.x, l.w, kernels.Tensor{})
				s.LinearBackwardInput(l.dx, l.y, l.w, false)
				s.LinearBackwardAdapter(l.dA, l.dB, l.y, l.x, l.w)
			}
			results[i] = slices.Concat(r.floats(l.y), r.floats(l.dx), r.floats(l.dA), r.floats(l.dB))
		}
		if i == 0 { // alone
			run()
			continue
		}
		together.Go(run)
	}
	together.Wait()
	for i, v := range results[1:] {
		if !slices.Equal(v, results[0]) {
			t.Errorf("stream %d has other bits than the one that ran alone", i+1)
		}
	}
}

func TestClosedStreamRefuses(t *testing.T) {
	r := newRig(t, Options{Threads: 1})
	x := r.tensor(kernels.F32, 2, 2, 0)
	r.s.Close()
	r.s.Fill(x, 1)
	r.s.Gemm(kernels.GemmArgs{A: x, B: x, C: x})
	if err := r.s.Synchronize(context.Background()); !errors.Is(err, errClosed) {
		t.Errorf("synchronize after close gave %v, want %v", err, errClosed)
	}
}

// The bits of a row do not depend on how many rows are multiplied with it.
func TestRowsAreIndependentOfTheirNumber(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		r := newRig(t, Options{Variant: variant, Threads: 2})
		l := newLayer(r, 140, 90, 1300, 4)
		r.s.LinearForward(l.y, l.x, l.w, kernels.Tensor{})
		all := r.floats(l.y)
		for _, n := range []int{1, 5, 13, 97} {
			r.s.LinearForward(l.y.SliceRows(0, n), l.x.SliceRows(3, 3+n), l.w, kernels.Tensor{})
			if got := r.floats(l.y.SliceRows(0, n)); !slices.Equal(got, all[3*90:(3+n)*90]) {
				t.Errorf("%d rows alone have other bits than among 140", n)
			}
		}
	})
}

// The same of products with plain weights, which few rows meet without packing.
func TestFewRowsHaveTheBitsOfMany(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		r := newRig(t, Options{Variant: variant, Threads: 2})
		const rows, out, in = 30, 75, 613
		x, bias := r.tensor(kernels.F32, rows, in, 1), r.tensor(kernels.BF16, 1, out, 0)
		y, got := r.tensor(kernels.F32, rows, out, 0), r.tensor(kernels.F32, rows, out, 2)
		r.random(x)
		r.random(bias)
		for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
			byN, byK := r.tensor(d, out, in, 3), r.tensor(d, in, out, 1)
			r.random(byN)
			r.random(byK)
			for name, f := range map[string]func(y, x kernels.Tensor){
				"nt": func(y, x kernels.Tensor) {
					r.s.Gemm(kernels.GemmArgs{C: y, A: x, B: byN, Form: kernels.NT, Accumulate: true})
				},
				"nn": func(y, x kernels.Tensor) {
					r.s.Gemm(kernels.GemmArgs{C: y, A: x, B: byK, Form: kernels.NN, Accumulate: true})
				},
				"forward": func(y, x kernels.Tensor) { r.s.LinearForward(y, x, kernels.LinearWeight{W: byN, Round: d}, bias) },
			} {
				r.s.Fill(y, 0.3)
				f(y, x)
				all := r.floats(y)
				for n := 1; n <= 13; n++ {
					part := got.SliceRows(1, 1+n)
					r.s.Fill(got, 0.3)
					f(part, x.SliceRows(2, 2+n))
					if !slices.Equal(r.floats(part), all[2*out:(2+n)*out]) {
						t.Errorf("%s, %v: %d rows alone have other bits than among %d", name, d, n, rows)
					}
					if whole := r.floats(got); whole[out-1] != 0.3 || whole[(1+n)*out] != 0.3 {
						t.Errorf("%s, %v: %d rows wrote outside y", name, d, n)
					}
				}
			}
		}
	})
}

// Every operation that multiplies with W_eff uses the bits that EffectiveWeight writes.
func TestEffectiveWeightIsTheOneMultipliedWith(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		for _, round := range []kernels.DType{kernels.F32, kernels.BF16} {
			r := newRig(t, Options{Variant: variant, Threads: 1})
			out, in := 70, 130
			l := newLayer(r, in, out, in, 5)
			l.w.Round = round
			// With x the identity, y is W_effᵀ; with dy the identity, dx is W_eff.
			unit := func(m kernels.Tensor) {
				r.s.Fill(m, 0)
				for i := range min(m.Rows, m.Cols) {
					r.s.Fill(m.SliceRows(i, i+1).SliceCols(i, i+1), 1)
				}
			}
			w, dx := r.tensor(kernels.F32, out, in, 0), r.tensor(kernels.F32, out, in, 0)
			dy := r.tensor(kernels.F32, out, out, 0)
			unit(l.x)
			unit(dy)
			r.s.EffectiveWeight(w, l.w)
			r.s.LinearForward(l.y, l.x, l.w, kernels.Tensor{})
			r.s.LinearBackwardInput(dx, dy, l.w, false)
			want, y := r.floats(w), r.floats(l.y)
			if !slices.Equal(r.floats(dx), want) {
				t.Errorf("%v: LinearBackwardInput multiplies with another W_eff", round)
			}
			for i, v := range want {
				if y[i%in*out+i/in] != v {
					t.Fatalf("%v: LinearForward multiplies with %v at (%d, %d), want %v", round, y[i%in*out+i/in], i/in, i%in, v)
				}
			}
		}
	})
}
