package sparse_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// dense returns a random matrix that is zero where m drops, and NaN beside it in all.
func dense(rng *rand.Rand, m sparse.Mask, d kernels.DType) (all, kept []byte) {
	for r := range m.Rows {
		for c := range m.Cols {
			v := make([]byte, d.Size())
			for i := range v {
				v[i] = byte(rng.Uint32())
			}
			if m.Get(r, c) {
				all, kept = append(all, v...), append(kept, v...)
				continue
			}
			all, kept = append(all, bytes.Repeat([]byte{0xff}, d.Size())...), append(kept, make([]byte, d.Size())...)
		}
	}
	return all, kept
}

func TestPackKeepsWhatTheMaskKeeps(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{0, 0}, {1, 1}, {64, 64}, {63, 65}, {130, 200}, {5, 640}} {
		for _, d := range []kernels.DType{kernels.F32, kernels.BF16} {
			for _, share := range []float64{0, 0.3, 1} {
				m := sparse.New(shape[0], shape[1])
				for r := range m.Rows {
					for c := range m.Cols {
						m.Set(r, c, rng.Float64() < share)
					}
				}
				all, kept := dense(rng, m, d)
				p, err := sparse.Pack(m, d, all)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(p.Unpack(), kept) {
					t.Errorf("%v %v of %v: unpacked it is another matrix", d, share, shape)
				}
				if p.Kept() != m.Count() || len(p.Offsets) != kernels.MaskWords(m.Rows)*kernels.MaskWords(m.Cols) {
					t.Errorf("%v: %d values and %d offsets", shape, p.Kept(), len(p.Offsets))
				}
			}
		}
	}
}

// A value lies behind those of earlier tiles, of earlier rows and of earlier columns.
func TestPackOrdersByTilesThenRows(t *testing.T) {
	m := sparse.New(66, 70)
	var w []byte
	for r := range m.Rows {
		for c := range m.Cols {
			w = binary.LittleEndian.AppendUint32(w, uint32(1000*r+c))
		}
	}
	for _, e := range [][2]int{{65, 69}, {0, 65}, {1, 2}, {0, 3}, {65, 0}} {
		m.Set(e[0], e[1], true)
	}
	p, err := sparse.Pack(m, kernels.F32, w)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint32{3, 1002, 65, 65000, 65069} {
		if got := binary.LittleEndian.Uint32(p.Values[4*i:]); got != want {
			t.Errorf("value %d is that of row %d, column %d; want %d, %d", i, got/1000, got%1000, want/1000, want%1000)
		}
	}
	for i, want := range []int32{0, 2, 3, 4} {
		if p.Offsets[i] != want {
			t.Errorf("tile %d starts at %d, want %d", i, p.Offsets[i], want)
		}
	}
}

// Bytes beside those of dense bf16: the promise of the format.
func TestPackedBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		pattern string
		most    float64
	}{{"2:4", 0.6}, {"4:8", 0.6}, {"unstructured:0.5", 0.6}, {"unstructured:0.7", 0.4}} {
		rows, cols := 576, 1536
		m := sparse.New(rows, cols)
		pattern, err := sparse.ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for r := range rows {
			if pattern.M == 0 {
				drop := rng.Perm(cols)[:int(pattern.Ratio*float64(cols))]
				for c := range cols {
					m.Set(r, c, true)
				}
				for _, c := range drop {
					m.Set(r, c, false)
				}
				continue
			}
			for lo := 0; lo < cols; lo += pattern.M {
				for _, c := range rng.Perm(pattern.M)[:pattern.N] {
					m.Set(r, lo+c, true)
				}
			}
		}
		p, err := sparse.Pack(m, kernels.BF16, make([]byte, 2*rows*cols))
		if err != nil {
			t.Fatal(err)
		}
		share := float64(len(p.Values)+4*len(p.Offsets)+len(m.Bytes())) / float64(2*rows*cols)
		t.Logf("%s: %.3f of dense bf16", c.pattern, share)
		if share > c.most {
			t.Errorf("%s takes %.3f of dense bf16, want at most %.1f", c.pattern, share, c.most)
		}
	}
}

func TestPackRefuses(t *testing.T) {
	m := sparse.NewOnes(3, 5)
	bad := m.Clone()
	bad.Words[0] |= 1 << 10
	for name, f := range map[string]func() error{
		"another length": func() error { _, err := sparse.Pack(m, kernels.F32, make([]byte, 59)); return err },
		"an integer":     func() error { _, err := sparse.Pack(m, kernels.I32, make([]byte, 60)); return err },
		"a bad mask":     func() error { _, err := sparse.Pack(bad, kernels.F32, make([]byte, 60)); return err },
	} {
		if f() == nil {
			t.Errorf("%s was packed", name)
		}
	}
}
