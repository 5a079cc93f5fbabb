//go:build cgo

package cpu

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"ressa/kernels"
)

// rig is a device with one stream and what tests need around it.
type rig struct {
	t   testing.TB
	dev kernels.Device
	s   kernels.Stream
	rng *rand.Rand
}

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	dev, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := dev.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); dev.Close() })
	return &rig{t: t, dev: dev, s: s, rng: rand.New(rand.NewPCG(1, 2))}
}

// tensor returns a tensor of rows × cols, one row of pad elements apart, and frees it at the end.
func (r *rig) tensor(d kernels.DType, rows, cols, pad int) kernels.Tensor {
	r.t.Helper()
	b, err := r.dev.Alloc((rows*(cols+pad) + pad) * d.Size())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.dev.Free(b) })
	return kernels.Tensor{Buffer: b, DType: d, Rows: rows, Cols: cols, Stride: cols + pad}
}

// random fills t with normal numbers (words of random bits for U64) and returns
// the values as they are stored.
func (r *rig) random(t kernels.Tensor) []float64 { return r.fill(t, r.rng.NormFloat64) }

// whole fills t with whole numbers from -most to most.
func (r *rig) whole(t kernels.Tensor, most int) {
	r.fill(t, func() float64 { return float64(r.rng.IntN(2*most+1) - most) })
}

func (r *rig) fill(t kernels.Tensor, draw func() float64) []float64 {
	host := make([]byte, t.Bytes())
	out := make([]float64, t.Len())
	for i := range out {
		v := float32(draw())
		switch t.DType {
		case kernels.F32:
			binary.LittleEndian.PutUint32(host[4*i:], math.Float32bits(v))
			out[i] = float64(v)
		case kernels.BF16:
			h := math.Float32bits(v) >> 16
			binary.LittleEndian.PutUint16(host[2*i:], uint16(h))
			out[i] = float64(math.Float32frombits(h << 16))
		case kernels.U64:
			binary.LittleEndian.PutUint64(host[8*i:], r.rng.Uint64())
		}
	}
	r.s.Upload(t, host)
	return out
}

func (r *rig) floats(t kernels.Tensor) []float32 {
	r.t.Helper()
	host := make([]byte, t.Bytes())
	r.s.Download(host, t)
	if err := r.s.Synchronize(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	out := make([]float32, t.Len())
	for i := range out {
		if t.DType == kernels.BF16 {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(host[2*i:])) << 16)
		} else {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(host[4*i:]))
		}
	}
	return out
}

// close compares with want, allowing an absolute difference of tolerance.
func (r *rig) close(what string, got []float32, want []float64, tolerance float64) {
	r.t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= tolerance) {
			r.t.Fatalf("%s: element %d is %v, want %v (off by %.3g, allowed %.3g)", what, i, got[i], want[i], d, tolerance)
		}
	}
}

func everyVariant(t *testing.T, f func(t *testing.T, variant string)) {
	for _, v := range Variants() {
		t.Run(v, func(t *testing.T) { f(t, v) })
	}
}
