//go:build cgo && linux

package cuda

import (
	"slices"
	"testing"

	"ressa/kernels"
)

// Few tokens multiply with the same bits of W_eff as all else: tokens of one 1 each
// read columns of it.
func TestFewTokensReadTheEffectiveWeight(t *testing.T) {
	r, s := newLayerRig(t)
	const out, in = 140, 600 // several tiles and splits
	for _, round := range []kernels.DType{kernels.F32, kernels.BF16} {
		w := r.weight(out, in, 5, round)
		effective := r.empty(out, in)
		s.EffectiveWeight(effective, w)
		all := r.read(effective)
		for _, tokens := range []int{1, 17, fewTokens} {
			var at []int
			one := make([]float32, tokens*in)
			for i := range tokens {
				at = append(at, (i*37+560)%in)
				one[i*in+at[i]] = 1
			}
			x, y := r.empty(tokens, in), r.empty(tokens, out)
			s.Upload(x, kernels.EncodeF32(one))
			s.LinearForward(y, x, w, kernels.Tensor{})
			var want []float32
			for _, col := range at {
				for o := range out {
					want = append(want, all[o*in+col])
				}
			}
			if !slices.Equal(r.read(y), want) {
				t.Errorf("%v, %d tokens: other numbers than those of W_eff", round, tokens)
			}
		}
	}
}
