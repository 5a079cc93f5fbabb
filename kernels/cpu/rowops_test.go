//go:build cgo

package cpu

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
)

// twins runs the same operations on this backend (0) and on the reference (1).
type twins struct {
	t       testing.TB
	rig     *rig
	devices [2]kernels.Device
	streams [2]kernels.Stream
}

// pair is a tensor of each backend with the same contents.
type pair [2]kernels.Tensor

func newTwins(t testing.TB, o Options) *twins {
	t.Helper()
	r := newRig(t, o)
	w := &twins{t: t, rig: r, devices: [2]kernels.Device{r.dev, reference.Open()}}
	w.streams[0] = r.s
	s, err := w.devices[1].NewStream()
	if err != nil {
		t.Fatal(err)
	}
	w.streams[1] = s
	return w
}

// tensor returns a pair of rows × cols, pad elements between rows, filled by
// value (normal numbers where it is nil).
func (w *twins) tensor(d kernels.DType, rows, cols, pad int, value func(i int) float64) pair {
	w.t.Helper()
	host := make([]byte, rows*cols*d.Size())
	for i := range rows * cols {
		v := w.rig.rng.NormFloat64()
		if value != nil {
			v = value(i)
		}
		switch d {
		case kernels.BF16:
			binary.LittleEndian.PutUint16(host[2*i:], kernels.ToBF16(float32(v)))
		case kernels.I32:
			binary.LittleEndian.PutUint32(host[4*i:], uint32(int32(v)))
		case kernels.U64:
			binary.LittleEndian.PutUint64(host[8*i:], w.rig.rng.Uint64())
		default:
			binary.LittleEndian.PutUint32(host[4*i:], math.Float32bits(float32(v)))
		}
	}
	var p pair
	for k, dev := range w.devices {
		b, err := dev.Alloc((rows*(cols+pad) + 1) * d.Size())
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { dev.Free(b) })
		p[k] = kernels.Tensor{Buffer: b, DType: d, Rows: rows, Cols: cols, Stride: cols + pad}
		w.streams[k].Upload(p[k], host)
	}
	return p
}

// run runs op on both backends.
func (w *twins) run(op func(s kernels.Stream, k int)) {
	w.t.Helper()
	for k, s := range w.streams {
		op(s, k)
		if err := s.Synchronize(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// bytes returns the contents of p on backend k.
func (w *twins) bytes(p pair, k int) []byte {
	w.t.Helper()
	host := make([]byte, p[k].Bytes())
	w.streams[k].Download(host, p[k])
	if err := w.streams[k].Synchronize(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	return host
}

// agree fails the test where |a − b| > tolerance·(1 + |b|).
func (w *twins) agree(what string, p pair, tolerance float64) {
	w.t.Helper()
	got, want := w.bytes(p, 0), w.bytes(p, 1)
	at := func(b []byte, i int) float64 {
		switch p[0].DType {
		case kernels.F64:
			return math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		case kernels.I32:
			return float64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		}
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
	}
	for i := range p[0].Len() {
		a, b := at(got, i), at(want, i)
		if a == b {
			continue
		}
		if d := math.Abs(a - b); !(d <= tolerance*(1+math.Abs(b))) {
			w.t.Fatalf("%s: element (%d, %d) is %v, want %v", what, i/p[0].Cols, i%p[0].Cols, a, b)
		}
	}
}

func TestRowOperationsAgreeWithReference(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		for _, rows := range []int{1, 40, 3000} {
			for i, cols := range widths {
				w := newTwins(t, Options{Variant: variant, Threads: 2})
				f := func(rows int) pair { return w.tensor(kernels.F32, rows, cols, i%2, nil) }
				x, y, p := f(rows), f(rows), w.tensor(kernels.BF16, 7, cols, 0, nil)
				one, seven, table := f(1), f(7), f(13)
				index := w.tensor(kernels.I32, 1, rows, 0, func(i int) float64 { return float64(i * i % 13) })
				best := w.tensor(kernels.I32, 1, rows, 0, nil)
				z := w.tensor(kernels.F32, rows, cols, 1, func(int) float64 { return float64(w.rig.rng.IntN(300)) })
				head := w.tensor(kernels.F32, rows, 3*2*cols, 0, nil)
				cos, sin := f(13), f(13)
				w.run(func(s kernels.Stream, k int) {
					s.AddRows(y[k], x[k], p[k])
					s.SumRowGroups(one[k], x[k])
					s.SumRowGroups(seven[k], x[k])
					s.ScatterAddRows(table[k], x[k], index[k])
					s.ArgmaxRows(best[k], z[k])
					s.Rotate(head[k], 2*cols, cos[k], sin[k], index[k], rows > 1)
				})
				for k, p := range []pair{y, best} {
					w.agree(fmt.Sprint("result ", k), p, 0)
				}
				for k, p := range []pair{one, seven, table, head} {
					w.agree(fmt.Sprint("sum ", k), p, 1e-4) // of up to 3,000 normal numbers
				}
			}
		}
	})
}
