//go:build cgo

package cpu

import (
	"fmt"
	"slices"
	"testing"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// keepSome uploads a mask of random bits, thinned to the share given, and returns
// it with the number of its ones.
func (r *rig) keepSome(rows, cols int, share float64) (kernels.Tensor, int) {
	r.t.Helper()
	m := sparse.New(rows, cols)
	for i := range rows {
		for j := range cols {
			m.Set(i, j, i%7 != 3 && (i%7 == 5 || r.rng.Float64() < share)) // empty and full rows too
		}
	}
	t, err := m.Upload(r.dev, r.s)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.dev.Free(t.Buffer) })
	return t, m.Count()
}

// A product over kept weights is the dense one without its zeros: the same to the
// last bit where sums are exact in any order, as those of small whole numbers are.
func TestProductsOverKeptWeightsAreTheDenseOnes(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		for _, d := range []struct{ tokens, out, in int }{{24, 32, 32}, {97, 130, 70}, {63, 64, 700}, {200, 300, 520}, {130, 1600, 1500}} {
			for _, accumulate := range []bool{false, true} {
				t.Run(fmt.Sprintf("%dx%dx%d accumulate %v", d.tokens, d.out, d.in, accumulate), func(t *testing.T) {
					r := newRig(t, Options{Variant: variant, Threads: 2})
					w := kernels.LinearWeight{W: r.tensor(kernels.BF16, d.out, d.in, 0), A: r.tensor(kernels.F32, 3, d.in, 0),
						B: r.tensor(kernels.F32, d.out, 3, 0), Scale: 2, Round: kernels.BF16}
					x, dy, bias := r.tensor(kernels.F32, d.tokens, d.in, 3), r.tensor(kernels.F32, d.tokens, d.out, 5), r.tensor(kernels.F32, 1, d.out, 0)
					for _, v := range []kernels.Tensor{w.W, x, dy, bias} {
						r.whole(v, 6)
					}
					r.whole(w.A, 1)
					r.whole(w.B, 1)
					var kept int
					w.Mask, kept = r.keepSome(d.out, d.in, 0.4)
					both := func(rows, cols int, run func(dst kernels.Tensor, w kernels.LinearWeight)) {
						dense, sparse := r.tensor(kernels.F32, rows, cols, 4), r.tensor(kernels.F32, rows, cols, 4)
						r.whole(dense, 100)
						r.s.Convert(sparse, dense)
						w.Kept = 0
						run(dense, w)
						w.Kept = kept
						if !goesSparse(w, d.tokens) {
							t.Fatal("the layer is not computed over its kept weights")
						}
						run(sparse, w)
						if a, b := r.floats(dense), r.floats(sparse); !slices.Equal(a, b) {
							t.Fatalf("(%d, %d) differs", rows, cols)
						}
					}
					both(d.tokens, d.out, func(y kernels.Tensor, w kernels.LinearWeight) { r.s.LinearForward(y, x, w, bias) })
					both(d.tokens, d.in, func(dx kernels.Tensor, w kernels.LinearWeight) { r.s.LinearBackwardInput(dx, dy, w, accumulate) })
				})
			}
		}
	})
}

// Which way a layer is computed follows from shape and density.
func TestLayersGoSparse(t *testing.T) {
	layer := func(out, in, kept int) kernels.LinearWeight {
		b := &buffer{}
		return kernels.LinearWeight{W: kernels.NewTensor(b, kernels.BF16, out, in), Mask: kernels.NewTensor(b, kernels.U64, out, kernels.MaskWords(in)), Kept: kept}
	}
	for _, c := range []struct {
		rows, out, in, kept int
		want                bool
	}{
		{512, 100, 100, 5000, true}, {512, 100, 100, 6500, true}, {512, 100, 100, 6501, false}, {512, 100, 100, 0, false},
		{1, 100, 100, 5000, false}, {23, 100, 100, 5000, false}, {24, 100, 100, 5000, true}, {512, 31, 100, 100, false}, {512, 100, 31, 100, false},
	} {
		if got := goesSparse(layer(c.out, c.in, c.kept), c.rows); got != c.want {
			t.Errorf("%+v goes sparse: %v", c, got)
		}
	}
	unmasked := layer(100, 100, 5000)
	unmasked.Mask = kernels.Tensor{}
	if goesSparse(unmasked, 512) {
		t.Error("a layer without a mask goes sparse")
	}
}

// Every element of G belongs to one task, whatever the sizes.
func TestPlanOfSumsAtKeptElements(t *testing.T) {
	for _, tokens := range []int{24, 640, 2048, 2049, 70000} {
		for _, out := range []int{32, 64, 65, 256, 257, 4096} {
			for _, in := range []int{32, 65, 1000, 11008} {
				p := planSparseOuter(tokens, out, in)
				if p.rows > outerBlockRows || p.rows%maskWord != 0 || p.cols%maskWord != 0 || p.together < 1 || p.tokens > outerRangeTokens ||
					(p.down-1)*p.rows >= out || p.down*p.rows < out || (p.across-1)*p.cols >= in || p.across*p.cols < in ||
					(p.ranges-1)*p.tokens >= tokens || p.ranges*p.tokens < tokens {
					t.Errorf("%d tokens, %d × %d: %+v", tokens, out, in, p)
				}
			}
		}
	}
}
