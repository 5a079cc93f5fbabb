package sparse_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"ressa/kernels/reference"
	"ressa/kernels/sparse"
)

func random(rows, cols int, seed uint64) (sparse.Mask, []byte) {
	rng := rand.New(rand.NewPCG(seed, 1))
	bools := make([]byte, rows*cols)
	for i := range bools {
		bools[i] = byte(rng.IntN(2))
	}
	m, err := sparse.FromBools(rows, cols, bools)
	if err != nil {
		panic(err)
	}
	return m, bools
}

func TestBoolsRoundTrip(t *testing.T) {
	for _, cols := range []int{0, 1, 7, 63, 64, 65, 128, 130} {
		m, bools := random(3, cols, uint64(cols))
		if err := m.Validate(); err != nil {
			t.Errorf("%d columns: %v", cols, err)
		}
		if got := m.ToBools(); !bytes.Equal(got, bools) {
			t.Errorf("%d columns: %v, want %v", cols, got, bools)
		}
		n := 0
		for i, b := range bools {
			n += int(b)
			if m.Get(i/cols, i%cols) != (b == 1) {
				t.Errorf("%d columns: Get(%d, %d) is wrong", cols, i/cols, i%cols)
			}
		}
		if m.Count() != n || m.CountRow(0)+m.CountRow(1)+m.CountRow(2) != n {
			t.Errorf("%d columns: count %d, want %d", cols, m.Count(), n)
		}
	}
}

func TestFromBoolsRefuses(t *testing.T) {
	for _, c := range []struct {
		rows, cols int
		bools      []byte
		want       string
	}{
		{1, 2, []byte{1}, "1 bytes"},
		{-1, -1, []byte{1}, "(-1, -1)"},
		{1 << 62, 4, nil, "0 bytes"},
		{1, 2, []byte{1, 2}, "element (0, 1) is 2"},
	} {
		if _, err := sparse.FromBools(c.rows, c.cols, c.bools); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("FromBools(%d, %d, %v) gave %v, want %q", c.rows, c.cols, c.bools, err, c.want)
		}
	}
}

func TestOnesSetAndPadding(t *testing.T) {
	m := sparse.NewOnes(2, 70)
	if m.Count() != 140 || m.Density() != 1 || m.Validate() != nil {
		t.Fatalf("ones: count %d, density %v, %v", m.Count(), m.Density(), m.Validate())
	}
	o := m.Clone()
	o.Set(1, 69, false)
	if o.Get(1, 69) || !o.Get(0, 69) || o.Count() != 139 || m.Count() != 140 || o.Equal(m) {
		t.Error("Set or Clone is wrong")
	}
	o.Words[1] |= 1 << 6
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "beyond column 69") {
		t.Errorf("a set padding bit gave %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("setting a padding bit did not panic")
		}
	}()
	m.Set(0, 70, true)
}

func TestUpload(t *testing.T) {
	d := reference.Open()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	m, _ := random(5, 100, 9)
	x, err := m.Upload(d, s)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, x.Bytes())
	s.Download(got, x)
	if err := s.Synchronize(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i, w := range m.Words {
		if binary.LittleEndian.Uint64(got[8*i:]) != w {
			t.Errorf("word %d differs", i)
		}
	}
}

func TestTwoOfFour(t *testing.T) {
	for bits := range 16 { // of each group of four columns, in three places of two words
		for _, at := range []int{0, 60, 64} {
			m := sparse.New(2, 68)
			kept := 0
			for c := range 4 {
				if bits>>c&1 != 0 {
					m.Set(1, at+c, true)
					kept++
				}
			}
			if got := m.TwoOfFour(); got != (kept <= 2) {
				t.Errorf("bits %04b at column %d: %v", bits, at, got)
			}
		}
	}
	if sparse.NewOnes(3, 2).TwoOfFour() != true || sparse.NewOnes(3, 7).TwoOfFour() {
		t.Error("a group at the end may be shorter; two columns keep at most two, three do not")
	}
}
