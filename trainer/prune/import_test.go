package prune

import (
	"context"
	"math"
	"strings"
	"testing"

	"ressa/kernels/sparse"
	"ressa/trainer/model"
	"ressa/trainer/random"
)

// pruned returns a random weight under a mask of the pattern, with −0 among the
// zeros.
func pruned(t *testing.T, rows, cols int, p string, g Granularity) ([]float32, sparse.Mask) {
	t.Helper()
	r := random.New(3, uint32(rows), uint32(cols), 0)
	w := make([]float32, rows*cols)
	for i := range w {
		w[i] = r.Normal()
	}
	m, err := newBench(t).selected(w, rows, cols, nil, pattern(t, p), g)
	if err != nil {
		t.Fatal(err)
	}
	for i := range w {
		if !m.Get(i/cols, i%cols) {
			w[i] = float32(math.Copysign(0, float64(w[i])))
		}
	}
	return w, m
}

func TestImportInfers(t *testing.T) {
	for _, c := range []struct {
		pattern string
		g       Granularity
		want    string
	}{
		{"2:4", PerRow, "2:4"},
		{"1:2", PerRow, "1:2"},
		{"4:8", PerRow, "4:8"},
		{"1:4", PerRow, "1:4"},
		{"unstructured:0.5", PerRow, "unstructured:0.5"},
		{"unstructured:0.7", PerRow, "unstructured:0.7"},
		{"unstructured:0.6", PerMatrix, "unstructured:0.6"},
	} {
		b := newBench(t)
		w, mask := pruned(t, 40, 200, c.pattern, c.g)
		v, _ := pruned(t, 20, 40, c.pattern, c.g)
		dense, _ := pruned(t, 4, 8, "unstructured:0", PerRow)
		dense[3] = 0
		tw := &tower{linear: b.linear("a", 40, 200, w), extra: []*model.Linear{b.linear("b", 20, 40, v), b.linear("c", 4, 8, dense)}}
		got, err := Import(context.Background(), b.lane, tw, ImportOptions{Granularity: c.g})
		if err != nil {
			t.Fatal(err)
		}
		if got.Pattern.String() != c.want || len(got.Masks) != 2 || !got.Masks[0].Mask.Equal(mask) {
			t.Errorf("%s by %v: inferred %v with %d masks", c.pattern, c.g, got.Pattern, len(got.Masks))
		}
		if len(got.Doubts) != 1 || got.Doubts[0].Name != "c" || got.Doubts[0].Unit != "dense" {
			t.Errorf("%s by %v: doubts %v, want only the zero of the dense layer", c.pattern, c.g, got.Doubts)
		}
	}
}

func TestImportDeclared(t *testing.T) {
	ctx := context.Background()
	p := pattern(t, "2:4")
	b := newBench(t)
	w, _ := pruned(t, 4, 16, "2:4", PerRow)
	for i, v := range w[36:40] { // a kept weight of row 2, columns 4 to 7, that is zero
		if v != 0 {
			w[36+i] = 0
			break
		}
	}
	got, err := Import(ctx, b.lane, &tower{linear: b.linear("a", 4, 16, w)}, ImportOptions{Pattern: &p})
	if err != nil {
		t.Fatal(err)
	}
	want := Doubt{Name: "a", Unit: "group", Zeros: 1, Places: [][2]int{{2, 4}}}
	if len(got.Doubts) != 1 || got.Doubts[0].String() != want.String() || got.Doubts[0].Zeros != 1 {
		t.Errorf("doubts %v, want %v", got.Doubts, want)
	}
	for i := range 4 {
		w[48+i] = 1
	}
	_, err = Import(ctx, b.lane, &tower{linear: b.linear("a", 4, 16, w)}, ImportOptions{Pattern: &p})
	if err == nil || !strings.Contains(err.Error(), "import a") || !strings.Contains(err.Error(), "row 3") {
		t.Errorf("a broken group gives %v", err)
	}
	half := pattern(t, "unstructured:0.5")
	rows := []float32{1, 1, 1, 0, 0, 0, 0, 1}
	_, err = Import(ctx, b.lane, &tower{linear: b.linear("a", 2, 4, rows)}, ImportOptions{Pattern: &half})
	if err == nil || !strings.Contains(err.Error(), "row 0") {
		t.Errorf("a row with too few zeros gives %v", err)
	}
	if _, err := Import(ctx, b.lane, &tower{linear: b.linear("a", 2, 4, rows)}, ImportOptions{Pattern: &half, Granularity: PerMatrix}); err != nil {
		t.Errorf("by matrix: %v", err)
	}
	dense, _ := pruned(t, 4, 8, "unstructured:0", PerRow)
	if _, err := Import(ctx, b.lane, &tower{linear: b.linear("a", 4, 8, dense)}, ImportOptions{}); err == nil {
		t.Error("a dense checkpoint was imported")
	}
}

func TestVerify(t *testing.T) {
	ctx, b := context.Background(), newBench(t)
	mask := sparse.NewOnes(2, 2)
	mask.Set(1, 1, false)
	masks := Masks{{"a", mask}}
	doubts, err := Verify(ctx, b.lane, &tower{linear: b.linear("a", 2, 2, []float32{1, 0, 3, 0})}, masks)
	if err != nil || len(doubts) != 1 || doubts[0].Zeros != 1 || doubts[0].Places[0] != [2]int{0, 1} {
		t.Errorf("doubts %v, %v", doubts, err)
	}
	if _, err := Verify(ctx, b.lane, &tower{linear: b.linear("a", 2, 2, []float32{1, 1, 3, 4})}, masks); err == nil || !strings.Contains(err.Error(), "(1, 1)") {
		t.Errorf("a weight under the mask gives %v", err)
	}
}
