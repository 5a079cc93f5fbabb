package reference_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
)

func upload(t *testing.T, d kernels.Device, s kernels.Stream, rows, cols int, v []float32) kernels.Tensor {
	t.Helper()
	b, err := d.Alloc(4 * rows * cols)
	if err != nil {
		t.Fatal(err)
	}
	x := kernels.NewTensor(b, kernels.F32, rows, cols)
	if v != nil {
		var buf bytes.Buffer
		if err := binary.Write(&buf, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
		s.Upload(x, buf.Bytes())
	}
	return x
}

func TestGemmByHand(t *testing.T) {
	d := reference.Open()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	a := upload(t, d, s, 2, 3, []float32{1, 2, 3, 4, 5, 6})
	b := upload(t, d, s, 1, 3, []float32{1, 0, -1})
	c := upload(t, d, s, 2, 1, []float32{10, 20})
	s.Gemm(kernels.GemmArgs{C: c, A: a, B: b, Form: kernels.NT, Accumulate: true})
	out := make([]byte, 8)
	s.Download(out, c)
	if err := s.Synchronize(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{8, 18} {
		if got := math.Float32frombits(binary.LittleEndian.Uint32(out[4*i:])); got != want {
			t.Errorf("c[%d] = %v, want %v", i, got, want)
		}
	}
}

func TestFirstErrorSticks(t *testing.T) {
	d := reference.Open()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	x := upload(t, d, s, 2, 2, []float32{1, 2, 3, 4})
	s.Fill(x.SliceRows(0, 3), 0) // beyond the buffer
	s.Fill(x, 9)                 // dropped
	first := s.Synchronize(context.Background())
	if first == nil || !strings.Contains(first.Error(), "fill: dst ends at byte 24 of a buffer of 16") {
		t.Fatalf("got %v", first)
	}
	if again := s.Synchronize(context.Background()); again != first {
		t.Errorf("second synchronize gave %v, want the first error", again)
	}
	other, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 16)
	other.Download(out, x)
	if err := other.Synchronize(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := math.Float32frombits(binary.LittleEndian.Uint32(out)); got != 1 {
		t.Errorf("an operation after the error ran: %v", got)
	}
	d.Free(x.Buffer)
	other.Fill(x, 1)
	if err := other.Synchronize(context.Background()); err == nil || !strings.Contains(err.Error(), "freed") {
		t.Errorf("use after free gave %v", err)
	}
}
