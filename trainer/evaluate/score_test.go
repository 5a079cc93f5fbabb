package evaluate

import (
	"math"
	"testing"
)

// The intervals are R's prop.test(x, n, correct = FALSE), which is Wilson's.
func TestInterval(t *testing.T) {
	for _, c := range []struct {
		right, n  int
		low, high float64
	}{
		{0, 0, 0, 100},
		{0, 10, 0, 27.7533},
		{10, 10, 72.2467, 100},
		{8, 10, 49.0162, 94.3318},
		{5000, 10000, 49.0203, 50.9797},
	} {
		low, high := Score{c.right, c.n}.Interval()
		if math.Abs(low-c.low) > 1e-3 || math.Abs(high-c.high) > 1e-3 {
			t.Errorf("%d of %d: (%.4f, %.4f), want (%.4f, %.4f)", c.right, c.n, low, high, c.low, c.high)
		}
	}
}

func TestSummariseByKind(t *testing.T) {
	r := summarise([]Answer{{Kind: "where", Right: true}, {Kind: "count"}, {Kind: "where"}, {Kind: "count"}})
	if r.Percent() != 25 || r.Questions != 4 {
		t.Errorf("score is %v of %d", r.Percent(), r.Questions)
	}
	if len(r.Kinds) != 2 || r.Kinds[0] != (KindScore{"count", Score{0, 2}}) || r.Kinds[1] != (KindScore{"where", Score{1, 2}}) {
		t.Errorf("kinds are %v", r.Kinds)
	}
	if r := summarise([]Answer{{Right: true}}); len(r.Kinds) != 0 {
		t.Errorf("kinds of examples without a kind: %v", r.Kinds)
	}
}
