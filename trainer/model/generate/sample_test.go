package generate

import (
	"math"
	"testing"
)

// With u walking through [0, 1), every token comes as often as the softmax of
// what top-k and top-p leave says.
func TestDrawFollowsTheDistribution(t *testing.T) {
	logits := []float32{1, 3, 2, 3, float32(math.Inf(-1)), float32(math.NaN()), 0}
	for name, c := range map[string]struct {
		options Options
		left    []int
	}{
		"all":         {Options{Temperature: 1}, []int{0, 1, 2, 3, 6}},
		"hot":         {Options{Temperature: 3}, []int{0, 1, 2, 3, 6}},
		"top-k":       {Options{Temperature: 1, TopK: 3}, []int{1, 3, 2}},
		"top-k ties":  {Options{Temperature: 1, TopK: 1}, []int{1}},
		"top-k large": {Options{Temperature: 1, TopK: 99}, []int{0, 1, 2, 3, 6}},
		// Probabilities 0.395 and 0.395, then 0.145: the third crosses 0.8.
		"top-p":       {Options{Temperature: 1, TopP: 0.8}, []int{1, 3, 2}},
		"top-p small": {Options{Temperature: 1, TopP: 1e-9}, []int{1}},
		"both":        {Options{Temperature: 1, TopK: 3, TopP: 0.5}, []int{1, 3}},
	} {
		var total float64
		want := map[int32]float64{}
		for _, i := range c.left {
			want[int32(i)] = math.Exp(float64(logits[i]) / c.options.Temperature)
			total += want[int32(i)]
		}
		const n = 10000
		got := map[int32]float64{}
		for i := range n {
			got[draw(logits, c.options, (float64(i)+0.5)/n)]++
		}
		for i := range logits {
			if g, w := got[int32(i)]/n, want[int32(i)]/total; math.Abs(g-w) > 2.0/n {
				t.Errorf("%s: token %d comes with %.4f, want %.4f", name, i, g, w)
			}
		}
	}
}

func TestDrawWithoutFiniteLogits(t *testing.T) {
	nan := float32(math.NaN())
	if got := draw([]float32{nan, nan}, Options{Temperature: 1}, 0.999); got < 0 || got > 1 {
		t.Errorf("token %d", got)
	}
	inf := float32(math.Inf(1))
	if got := draw([]float32{0, inf, 3}, Options{Temperature: 1}, 0.999); got != 1 {
		t.Errorf("token %d, want the infinite one", got)
	}
}
