package reference_test

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
)

// lab runs operations on float64 slices whose values are float32 numbers.
type lab struct {
	t   *testing.T
	d   kernels.Device
	s   kernels.Stream
	rng *rand.Rand
}

func newLab(t *testing.T) lab {
	t.Helper()
	d := reference.Open()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	return lab{t, d, s, rand.New(rand.NewPCG(7, 11))}
}

// random returns n float32 numbers of this deviation.
func (l lab) random(n int, deviation float64) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = float64(float32(deviation * l.rng.NormFloat64()))
	}
	return v
}

func (l lab) empty(d kernels.DType, rows, cols int) kernels.Tensor {
	l.t.Helper()
	b, err := l.d.Alloc(rows * cols * d.Size())
	if err != nil {
		l.t.Fatal(err)
	}
	return kernels.NewTensor(b, d, rows, cols)
}

func (l lab) put(rows, cols int, v []float64) kernels.Tensor {
	l.t.Helper()
	x := l.empty(kernels.F32, rows, cols)
	var b []byte
	for _, e := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(e)))
	}
	l.s.Upload(x, b)
	return x
}

func (l lab) integers(v ...int32) kernels.Tensor {
	l.t.Helper()
	x := l.empty(kernels.I32, 1, len(v))
	var b []byte
	for _, e := range v {
		b = binary.LittleEndian.AppendUint32(b, uint32(e))
	}
	l.s.Upload(x, b)
	return x
}

func (l lab) get(x kernels.Tensor) []float64 {
	l.t.Helper()
	b := make([]byte, x.Bytes())
	l.s.Download(b, x)
	if err := l.s.Synchronize(context.Background()); err != nil {
		l.t.Fatal(err)
	}
	v := make([]float64, x.Len())
	for i := range v {
		switch x.DType {
		case kernels.F64:
			v[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		case kernels.I32:
			v[i] = float64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		default:
			v[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
		}
	}
	return v
}

// near fails when x differs from want by more than relative times the greatest
// |want|, or one when that is less.
func (l lab) near(name string, x kernels.Tensor, want []float64, relative float64) {
	l.t.Helper()
	top := 1.0
	for _, w := range want {
		top = max(top, math.Abs(w))
	}
	got := l.get(x)
	if len(got) != len(want) {
		l.t.Fatalf("%s has %d elements, want %d", name, len(got), len(want))
	}
	for i, w := range want {
		if e := math.Abs(got[i] - w); !(e <= relative*top) {
			l.t.Errorf("%s[%d] = %v, want %v (off by %.2g)", name, i, got[i], w, e)
			return
		}
	}
}

// Bounds of the comparison with float64 computations: float32 results carry one
// rounding; central differences at step h carry about h² and 10⁻¹⁶/h.
const (
	rounded  = 2e-7
	differed = 5e-7
	h        = 1e-5
)

// gradient returns the central differences of f at x, in float64.
func gradient(f func() float64, x []float64) []float64 {
	g := make([]float64, len(x))
	for i, v := range x {
		x[i] = v + h
		up := f()
		x[i] = v - h
		down := f()
		x[i] = v
		g[i] = (up - down) / (2 * h)
	}
	return g
}

// product returns Σ a·b: with b = f(x) and a fixed, a loss whose gradient by b is a.
func product(a, b []float64) (sum float64) {
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}
