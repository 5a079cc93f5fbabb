//go:build cgo && linux

package cuda

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"ressa/kernels"
)

// attentionCall is a forward and a backward pass over two sequences of as many keys as
// queries, in one head of four dimensions.
type attentionCall struct {
	args   kernels.AttentionArgs
	grads  kernels.AttentionGrads
	result []kernels.Tensor
}

// few and many are numbers of queries with kernels of their own.
const few, many = 5, 20

// forms calls f on a device of each numeric kind, with each of few and many.
func forms(t *testing.T, f func(t *testing.T, o Options, n int)) {
	for _, o := range []Options{onDevice(t), rounding(onDevice(t))} {
		for _, n := range []int{few, many} {
			t.Run(fmt.Sprintf("%v-%d", o.Compute, n), func(t *testing.T) { f(t, o, n) })
		}
	}
}

// newAttentionCall sets elements to numbers that differ, keys and values from `valid` on of
// each sequence to `behind`. change, where it is there, has the last word.
func newAttentionCall(t *testing.T, d *Device, s *Stream, n int, lengths [2]int32, valid int, behind float32, change func(name string, i int, v float32) float32) attentionCall {
	t.Helper()
	const batch, dim = 2, 4
	matrix := func(name string, rows, cols, valid int) kernels.Tensor {
		x := kernels.NewTensor(alloc(t, d, 4*rows*cols), kernels.F32, rows, cols)
		values := make([]float32, rows*cols)
		for i := range values {
			values[i] = float32(math.Sin(float64(i*i + len(name))))
			if i/cols%n >= valid {
				values[i] = behind
			}
			if change != nil {
				values[i] = change(name, i, values[i])
			}
		}
		s.Upload(x, kernels.EncodeF32(values))
		return x
	}
	c := attentionCall{args: kernels.AttentionArgs{Batch: batch, Heads: 1, KVHeads: 1, HeadDim: dim, QueryLen: n, KeyLen: n, Scale: 0.5}}
	a, g := &c.args, &c.grads
	a.Q, a.K, a.V = matrix("Q", batch*n, dim, n), matrix("K", batch*n, dim, valid), matrix("V", batch*n, dim, valid)
	a.O, a.LogSumExp = matrix("O", batch*n, dim, n), matrix("lse", batch, n, n)
	g.DO, g.DQ, g.DK, g.DV = matrix("dO", batch*n, dim, n), matrix("dQ", batch*n, dim, n), matrix("dK", batch*n, dim, n), matrix("dV", batch*n, dim, n)
	a.Lengths = kernels.NewTensor(alloc(t, d, 4*batch), kernels.I32, 1, batch)
	raw := make([]byte, 4*batch)
	for i, v := range lengths {
		binary.LittleEndian.PutUint32(raw[4*i:], uint32(v))
	}
	s.Upload(a.Lengths, raw)
	c.result = []kernels.Tensor{a.O, a.LogSumExp, g.DQ, g.DK, g.DV}
	return c
}

// run is both passes, and what they wrote.
func (c attentionCall) run(t *testing.T, s *Stream) [][]byte {
	t.Helper()
	s.AttentionForward(c.args)
	s.AttentionBackward(c.args, c.grads)
	raw := download(s, c.result)
	if err := s.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	return raw
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
	forms(t, func(t *testing.T, o Options, n int) {
		d, s := opened(t, o)
		var runs [2][][]byte
		for i, behind := range []float32{0, float32(math.NaN())} {
			runs[i] = newAttentionCall(t, d, s, n, [2]int32{3, 3}, 3, behind, nil).run(t, s)
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
	})
}

// What is no number comes out as such, and in no other query's row.
func TestAttentionKeepsNaN(t *testing.T) {
	forms(t, func(t *testing.T, o Options, n int) {
		d, s := opened(t, o)
		c := newAttentionCall(t, d, s, n, [2]int32{int32(n), int32(n)}, n, 0, func(name string, i int, v float32) float32 {
			if name == "Q" && i == 4*3+1 {
				return float32(math.NaN())
			}
			return v
		})
		raw := c.run(t, s)
		for result, cols := range []int{4, 1, 4} { // O, the log-sum-exp, dQ
			for i, v := range kernels.DecodeF32(raw[result]) {
				if (v != v) != (i/cols == 3) {
					t.Errorf("element %d of result %d is %v", i, result, v)
				}
			}
		}
	})
}

func TestAttentionReportsALength(t *testing.T) {
	forms(t, func(t *testing.T, o Options, n int) {
		d, open := opened(t, o)
		c := newAttentionCall(t, d, open, n, [2]int32{int32(n), int32(n) + 1}, n, 0, nil)
		gradients := []kernels.Tensor{c.grads.DQ, c.grads.DK, c.grads.DV}
		before := download(open, gradients)
		if err := open.Synchronize(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("attention lengths: index[1] is %d, want 0 to %d", n+1, n)
		refused := func(pass string, call func(s *Stream)) {
			t.Helper()
			s := openStream(t, d)
			call(s)
			if err := s.Synchronize(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", pass, err, want)
			}
			_ = s.Close() // reports it once more
		}
		refused("forward", func(s *Stream) { s.AttentionForward(c.args) })
		refused("backward", func(s *Stream) { s.AttentionBackward(c.args, c.grads) })
		after := download(open, gradients)
		if err := open.Synchronize(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range before {
			if !bytes.Equal(before[i], after[i]) {
				t.Errorf("the backward pass wrote result %d", i)
			}
		}
		d.scratchLimit = 1 // where there is scratch, each sequence on its own
		refused("forward, one by one", func(s *Stream) { s.AttentionForward(c.args) })
		refused("backward, one by one", func(s *Stream) { s.AttentionBackward(c.args, c.grads) })
	})
}

// Scores so large that float32 tells them apart by eights only give one key all the weight.
func TestAttentionOfHugeScores(t *testing.T) {
	forms(t, func(t *testing.T, o Options, n int) {
		d, s := opened(t, o)
		c := newAttentionCall(t, d, s, n, [2]int32{int32(n), int32(n)}, n, 0, func(name string, i int, v float32) float32 {
			switch key := i / 4 % n; {
			case name == "Q":
				return 3 << 8
			case name == "K":
				return float32((key*7%n + 1) << 12) // the greatest where key·7 mod n is n−1
			case name == "V":
				return float32(key)
			}
			return v
		})
		s.AttentionForward(c.args)
		raw := download(s, c.result[:1])
		if err := s.Synchronize(t.Context()); err != nil {
			t.Fatal(err)
		}
		best := 0
		for best*7%n != n-1 {
			best++
		}
		for i, v := range kernels.DecodeF32(raw[0]) {
			if v != float32(best) {
				t.Errorf("element %d is %v, want the value of key %d", i, v, best)
			}
		}
	})
}

// Operands are rounded once, before anything is multiplied.
func TestAttentionRoundsItsOperandsOnce(t *testing.T) {
	for _, n := range []int{few, many} {
		d, s := opened(t, rounding(onDevice(t)))
		all := [2]int32{int32(n), int32(n)}
		as := newAttentionCall(t, d, s, n, all, n, 0, func(_ string, _ int, v float32) float32 { return kernels.RoundTo(kernels.BF16, v) }).run(t, s)
		got := newAttentionCall(t, d, s, n, all, n, 0, nil).run(t, s)
		exact, whole := opened(t, onDevice(t))
		precise := newAttentionCall(t, exact, whole, n, all, n, 0, nil).run(t, whole)
		for i := range got {
			if !bytes.Equal(got[i], as[i]) {
				t.Errorf("%d queries: result %d is not that of rounded operands", n, i)
			}
			if bytes.Equal(got[i], precise[i]) {
				t.Errorf("%d queries: result %d is that of operands that are not rounded", n, i)
			}
		}
	}
}

// How many sequences share scratch decides no bit.
func TestAttentionInGroupsOfSequences(t *testing.T) {
	d, s := opened(t, rounding(onDevice(t)))
	together := newAttentionCall(t, d, s, many, [2]int32{many, 7}, many, 0, nil).run(t, s)
	launches := s.serial.Load()
	d.scratchLimit = 1
	apart := newAttentionCall(t, d, s, many, [2]int32{many, 7}, many, 0, nil).run(t, s)
	if s.serial.Load()-launches <= launches {
		t.Errorf("%d launches for one group, %d for two", launches, s.serial.Load()-launches)
	}
	for i := range together {
		if !bytes.Equal(together[i], apart[i]) {
			t.Errorf("result %d differs", i)
		}
	}
}

// A block of sm_86 and sm_89 has 99 KiB; a multiprocessor of sm_80 has 164, of which each
// block takes one more than it asks for.
func TestAttentionTilesFitSharedMemory(t *testing.T) {
	for dim := 1; dim <= largestHead; dim++ {
		built, forward, queries, keys := attentionTiles(dim)
		flashed, f, q, k := flashTiles(dim)
		if built < dim || flashed < dim || flashed%16 != 0 {
			t.Errorf("heads of %d dimensions: kernels for %d and %d", dim, built, flashed)
		}
		most := max(forward.shared(built, 1, 1), queries.shared(built, 2, 1), keys.shared(built, 2, 2))
		flash := max(f.shared(flashed, 1, 0), q.shared(flashed, 2, 0), k.shared(flashed, 2, 2))
		if most > 99<<10 || flash > 99<<10 {
			t.Errorf("heads of %d dimensions: %d and %d bytes", dim, most, flash)
		}
		if flashed <= 128 && 2*(flash+1<<10) > 164<<10 {
			t.Errorf("heads of %d dimensions: %d bytes leave no room for a second block", dim, flash)
		}
	}
}

func TestKeysAreDividedByShape(t *testing.T) {
	for _, c := range []struct{ blocks, keys, splits, span int }{
		{1, 1, 1, 64}, {1, 256, 1, 256}, {1, 511, 1, 512}, {1, 512, 2, 256}, {1, 770, 3, 320},
		{32, 4096, 8, 512}, {1, 1 << 20, 256, 4096}, {128, 4096, 2, 2048}, {129, 4096, 1, 4096}, {1000, 4096, 1, 4096},
	} {
		if splits, span := dividedKeys(c.blocks, c.keys); splits != c.splits || span != c.span {
			t.Errorf("%d blocks, %d keys: %d parts of %d, want %d of %d", c.blocks, c.keys, splits, span, c.splits, c.span)
		}
	}
}

func TestLargeHeadsAreRefused(t *testing.T) {
	d, s := opened(t, onDevice(t))
	x := kernels.NewTensor(alloc(t, d, 4*257), kernels.F32, 1, 257)
	one := kernels.NewTensor(alloc(t, d, 4), kernels.F32, 1, 1)
	s.AttentionForward(kernels.AttentionArgs{Batch: 1, Heads: 1, KVHeads: 1, HeadDim: 257, QueryLen: 1, KeyLen: 1, Q: x, K: x, V: x, O: x, LogSumExp: one})
	if err := s.Synchronize(t.Context()); err == nil || !strings.Contains(err.Error(), "heads have 257 dimensions, want at most 256") {
		t.Errorf("got %v, want that 257 dimensions are too many", err)
	}
}
