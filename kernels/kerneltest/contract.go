package kerneltest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"ressa/kernels"
)

// contract tests what holds for every operation: zeroed memory, order, errors
// that come late and stick, contexts.
func contract(t *testing.T, open func() kernels.Device) {
	d := open()
	defer closing(t, d)
	if d.Kind() == "" {
		t.Error("the device has no kind")
	}
	t.Run("memory", func(t *testing.T) { memory(t, d) })
	t.Run("views", func(t *testing.T) { views(t, d) })
	t.Run("order", func(t *testing.T) { order(t, d) })
	t.Run("sums before norms", func(t *testing.T) { addedNorms(t, d) })
	t.Run("errors", func(t *testing.T) {
		for _, c := range mistakes() {
			t.Run(c.name, func(t *testing.T) { sticks(t, d, c.call) })
		}
	})
	t.Run("context", func(t *testing.T) {
		s := stream(t, d)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Synchronize(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("synchronize with a cancelled context gave %v", err)
		}
		if err := s.Synchronize(t.Context()); err != nil {
			t.Errorf("a cancelled wait made the stream fail: %v", err)
		}
	})
}

func stream(t *testing.T, d kernels.Device) kernels.Stream {
	t.Helper()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close of the stream: %v", err)
		}
	})
	return s
}

func alloc(t *testing.T, d kernels.Device, bytes int) kernels.Buffer {
	t.Helper()
	b, err := d.Alloc(bytes)
	if err != nil {
		t.Fatal(err)
	}
	if b.Bytes() < bytes {
		t.Errorf("a buffer for %d bytes has %d", bytes, b.Bytes())
	}
	return b
}

func memory(t *testing.T, d kernels.Device) {
	if _, err := d.Alloc(-1); err == nil {
		t.Error("allocating −1 bytes gave no error")
	}
	for range 3 { // a buffer that was used before must be zero too
		s, b := stream(t, d), alloc(t, d, 4*1000)
		x, got := kernels.NewTensor(b, kernels.F32, 10, 100), make([]byte, 4000)
		s.Download(got, x)
		s.Fill(x, 3)
		if err := s.Synchronize(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, make([]byte, 4000)) {
			t.Error("a new buffer is not zero")
		}
		d.Free(b)
	}
	d.Free(alloc(t, d, 0))
}

// views uploads to and downloads from a view with gaps, for all dtypes.
func views(t *testing.T, d kernels.Device) {
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16, kernels.F64, kernels.I32, kernels.U64} {
		s, size := stream(t, d), dtype.Size()
		b := alloc(t, d, 30*size)
		x := kernels.Tensor{Buffer: b, Offset: 2, DType: dtype, Rows: 3, Cols: 5, Stride: 9}
		src, got, all, want := make([]byte, x.Bytes()), make([]byte, x.Bytes()), make([]byte, 30*size), make([]byte, 30*size)
		for i := range src {
			src[i] = byte(i + 1)
		}
		for i := range 3 {
			copy(want[(2+9*i)*size:], src[5*i*size:5*(i+1)*size])
		}
		s.Upload(x, src)
		s.Download(got, x)
		s.Download(all, kernels.NewTensor(b, dtype, 1, 30))
		if err := s.Synchronize(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, src) {
			t.Errorf("%v: downloaded % x, want % x", dtype, got, src)
		}
		if !bytes.Equal(all, want) {
			t.Errorf("%v: the buffer holds % x, want % x", dtype, all, want)
		}
		d.Free(b)
	}
}

// order enqueues operations that depend on each other, on two streams by turns.
func order(t *testing.T, d kernels.Device) {
	a, b := stream(t, d), stream(t, d)
	buffer := alloc(t, d, 4*64)
	x := kernels.NewTensor(buffer, kernels.F32, 1, 64)
	a.Fill(x, 1)
	for range 10 {
		for _, s := range []kernels.Stream{a, b} {
			s.Add(x, x, x)
			if err := s.Synchronize(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := make([]byte, 4*64)
	b.Download(got, x)
	if err := b.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []byte{0, 0, 0x80, 0x49}; !bytes.Equal(got[:4], want) { // 2²⁰
		t.Errorf("ten doublings on each of two streams gave % x, want % x", got[:4], want)
	}
	d.Free(buffer)
}

// addedNorms compares the norms of sums with Add and the norm, bit for bit.
func addedNorms(t *testing.T, d kernels.Device) {
	for _, n := range append(shapes(), shape{2000, 48}, shape{33, 1030}) {
		s, g := stream(t, d), newGenerator("added norms "+n.String(), false)
		var x [2][]kernels.Tensor // fused, apart: y, h, mean, rstd, then the inputs
		for i := range x {
			for _, o := range []*operand{g.out("y", n.rows, n.cols), g.out("h", n.rows, n.cols), g.out("mean", 1, n.rows), g.out("rstd", 1, n.rows)} {
				x[i] = append(x[i], o.tensor(alloc(t, d, len(o.data))))
			}
		}
		for _, o := range []*operand{g.normal("x", n.rows, n.cols, 3), g.normal("r", n.rows, n.cols, 1), g.normal("gamma", 1, n.cols, 1), g.normal("beta", 1, n.cols, 1)} {
			b := alloc(t, d, len(o.data))
			s.Upload(o.whole(b), o.data)
			x[0], x[1] = append(x[0], o.tensor(b)), append(x[1], o.tensor(b))
		}
		for _, centred := range []bool{true, false} {
			a, b := x[0], x[1]
			s.Add(b[1], b[4], b[5])
			if centred {
				s.AddLayerNorm(a[0], a[1], a[4], a[5], a[6], a[7], 1e-3, a[2], a[3])
				s.LayerNorm(b[0], b[1], b[6], b[7], 1e-3, b[2], b[3])
			} else {
				s.AddRMSNorm(a[0], a[1], a[4], a[5], a[6], 1e-3, a[3])
				s.RMSNorm(b[0], b[1], b[6], 1e-3, b[3])
			}
			for k, name := range []string{"y", "h", "mean", "rstd"} {
				got, want := make([]byte, a[k].Bytes()), make([]byte, b[k].Bytes())
				s.Download(got, a[k])
				s.Download(want, b[k])
				if err := s.Synchronize(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%v, centred %v: %s of the fused operation has other bits", n, centred, name)
				}
			}
		}
		for _, v := range append(x[0], x[1][:4]...) {
			d.Free(v.Buffer)
		}
	}
}

// sticks verifies that a wrong call is reported by Synchronize, again and again,
// that later operations of its stream are dropped, and that other streams go on.
func sticks(t *testing.T, d kernels.Device, wrong func(s kernels.Stream, x kernels.Tensor)) {
	setup := stream(t, d)
	buffer := alloc(t, d, 4*64)
	x := kernels.NewTensor(buffer, kernels.F32, 8, 8)
	setup.Fill(x, 1)
	if err := setup.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	wrong(s, x)
	s.Fill(x, 2)
	first := s.Synchronize(t.Context())
	if first == nil {
		t.Error("no error")
	} else if again := s.Synchronize(t.Context()); again == nil || again.Error() != first.Error() {
		t.Errorf("first %q, then %v", first, again)
	}
	_ = s.Close() // may report the stream's error once more
	got := make([]byte, 4)
	setup.Download(got, x.SliceRows(0, 1).SliceCols(0, 1))
	if err := setup.Synchronize(t.Context()); err != nil {
		t.Errorf("another stream failed as well: %v", err)
	}
	if want := []byte{0, 0, 0x80, 0x3f}; first != nil && !bytes.Equal(got, want) {
		t.Errorf("after the error % x was written, want % x", got, want)
	}
	d.Free(buffer)
}
