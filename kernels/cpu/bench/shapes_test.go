package bench

import "testing"

// The operations of a decoder layer add up to the weights of SmolVLM-256M's.
func TestSmolVLMHasTheModelsWeights(t *testing.T) {
	weights := map[int]int{} // by rows
	for _, s := range SmolVLM() {
		if s.Op == GemmNT {
			weights[s.Rows] += s.Out * s.In
		}
		if (s.Rank > 0) != (s.Op == Forward || s.Op == Input || s.Op == Adapter) {
			t.Errorf("%v has rank %d", s, s.Rank)
		}
	}
	language := 576*(192+576+1536) + 1536*576 + 49280*576
	want := map[int]int{64: 576 * 12288, 128: language, 512: language, 1024: language + 768*768 + 2*768*3072}
	if len(weights) != len(want) {
		t.Errorf("rows are %v, want %v", weights, want)
	}
	for rows, n := range want {
		if weights[rows] != n {
			t.Errorf("%d rows meet %d weights, want %d", rows, weights[rows], n)
		}
	}
}
