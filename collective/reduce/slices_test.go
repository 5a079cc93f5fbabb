package reduce

import (
	"slices"
	"testing"
)

func TestAddSlices(t *testing.T) {
	a, err := New(3, AddSlices[float64], nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range []float64{1, 2, 4} {
		if err := a.Put(Leaf(i), []float64{v, -v}); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := a.Sum(); !slices.Equal(got, []float64{7, -7}) {
		t.Errorf("sum %v", got)
	}
	if err := AddSlices([]float32{0}, []float32{0}, nil); err == nil {
		t.Error("different lengths were added")
	}
}
