//go:build cgo && linux

package cuda

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"ressa/kernels"
)

// attentionCall is a forward and a backward pass over two sequences of five keys and
// queries, in one head of four dimensions.
type attentionCall struct {
	args   kernels.AttentionArgs
	grads  kernels.AttentionGrads
	result []kernels.Tensor
}

// newAttentionCall sets elements to numbers that differ, keys and values from `valid` on of
// each sequence to `behind`.
func newAttentionCall(t *testing.T, d *Device, s *Stream, lengths [2]int32, valid int, behind float32) attentionCall {
	t.Helper()
	const batch, n, dim = 2, 5, 4
	matrix := func(rows, cols, valid int) kernels.Tensor {
		x := kernels.NewTensor(alloc(t, d, 4*rows*cols), kernels.F32, rows, cols)
		values := make([]float32, rows*cols)
		for i := range values {
			if values[i] = float32(i*i%17-8) / 8; i/cols%n >= valid {
				values[i] = behind
			}
		}
		s.Upload(x, kernels.EncodeF32(values))
		return x
	}
	c := attentionCall{args: kernels.AttentionArgs{Batch: batch, Heads: 1, KVHeads: 1, HeadDim: dim, QueryLen: n, KeyLen: n, Scale: 0.5}}
	a, g := &c.args, &c.grads
	a.Q, a.K, a.V = matrix(batch*n, dim, n), matrix(batch*n, dim, valid), matrix(batch*n, dim, valid)
	a.O, a.LogSumExp = matrix(batch*n, dim, n), matrix(batch, n, n)
	g.DO, g.DQ, g.DK, g.DV = matrix(batch*n, dim, n), matrix(batch*n, dim, n), matrix(batch*n, dim, n), matrix(batch*n, dim, n)
	a.Lengths = kernels.NewTensor(alloc(t, d, 4*batch), kernels.I32, 1, batch)
	raw := make([]byte, 4*batch)
	for i, v := range lengths {
		binary.LittleEndian.PutUint32(raw[4*i:], uint32(v))
	}
	s.Upload(a.Lengths, raw)
	c.result = []kernels.Tensor{a.O, a.LogSumExp, g.DQ, g.DK, g.DV}
	return c
}

func download(s *Stream, all []kernels.Tensor) (raw [][]byte) {
	for _, x := range all {
		raw = append(raw, make([]byte, x.Bytes()))
		s.Download(raw[len(raw)-1], x)
	}
	return raw
}

// What lies behind the valid keys of a sequence may be anything, NaN too.
func TestAttentionIgnoresKeysBehindTheLength(t *testing.T) {
	d, s := opened(t, onShim(t))
	var runs [2][][]byte
	for i, behind := range []float32{0, float32(math.NaN())} {
		c := newAttentionCall(t, d, s, [2]int32{3, 3}, 3, behind)
		s.AttentionForward(c.args)
		s.AttentionBackward(c.args, c.grads)
		runs[i] = download(s, c.result)
		if err := s.Synchronize(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range runs[0] {
		if !bytes.Equal(runs[0][i], runs[1][i]) {
			t.Errorf("result %d depends on keys behind the length", i)
		}
		for j, v := range kernels.DecodeF32(runs[0][i]) {
			if v != v {
				t.Errorf("element %d of result %d is NaN", j, i)
			}
		}
	}
}

func TestAttentionBackwardReportsALengthAndWritesNothing(t *testing.T) {
	d, open := opened(t, onShim(t))
	c := newAttentionCall(t, d, open, [2]int32{5, 6}, 5, 0)
	before := download(open, c.result)
	if err := open.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := openStream(t, d)
	s.AttentionBackward(c.args, c.grads)
	if err := s.Synchronize(t.Context()); err == nil || !strings.Contains(err.Error(), "attention lengths: index[1] is 6, want 0 to 5") {
		t.Errorf("got %v, want that lengths[1] is 6", err)
	}
	_ = s.Close() // reports it once more
	after := download(open, c.result)
	if err := open.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range before {
		if !bytes.Equal(before[i], after[i]) {
			t.Errorf("result %d was written", i)
		}
	}
}

func TestLargeHeadsAreRefused(t *testing.T) {
	d, s := opened(t, onShim(t))
	x := kernels.NewTensor(alloc(t, d, 4*257), kernels.F32, 1, 257)
	one := kernels.NewTensor(alloc(t, d, 4), kernels.F32, 1, 1)
	s.AttentionForward(kernels.AttentionArgs{Batch: 1, Heads: 1, KVHeads: 1, HeadDim: 257, QueryLen: 1, KeyLen: 1, Q: x, K: x, V: x, O: x, LogSumExp: one})
	if err := s.Synchronize(t.Context()); err == nil || !strings.Contains(err.Error(), "heads have 257 dimensions, want at most 256") {
		t.Errorf("got %v, want that 257 dimensions are too many", err)
	}
}
