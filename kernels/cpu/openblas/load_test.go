package openblas

import (
	"testing"
	"unsafe"
)

func TestSgemm(t *testing.T) {
	l, err := Load()
	if err != nil {
		t.Skip(err)
	}
	l.SetThreads(1)
	if l.Core() == "" || l.Config() == "" {
		t.Errorf("core %q, config %q: want both named", l.Core(), l.Config())
	}
	a, b := []float32{1, 2, 3, 4}, []float32{5, 6, 7, 8}
	for _, c := range []struct {
		ta, tb bool
		want   [4]float32
	}{
		{false, false, [4]float32{19, 22, 43, 50}},
		{false, true, [4]float32{17, 23, 39, 53}},
		{true, false, [4]float32{26, 30, 38, 44}},
	} {
		var got [4]float32
		l.Sgemm(c.ta, c.tb, 2, 2, 2, matrix(a), matrix(b), 0, matrix(got[:]))
		if got != c.want {
			t.Errorf("transposed %v %v: got %v, want %v", c.ta, c.tb, got, c.want)
		}
		l.Sgemm(c.ta, c.tb, 2, 2, 2, matrix(a), matrix(b), 1, matrix(got[:]))
		if got[0] != 2*c.want[0] || got[3] != 2*c.want[3] {
			t.Errorf("transposed %v %v, added: got %v, want twice %v", c.ta, c.tb, got, c.want)
		}
	}
}

func matrix(v []float32) Matrix { return Matrix{Data: unsafe.Pointer(&v[0]), Stride: 2} }
