//go:build cgo && linux

package cuda

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

func openStream(t testing.TB, d *Device) *Stream {
	t.Helper()
	s, err := d.newStream()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// opened returns a device with a stream that end with the test.
func opened(t testing.TB, o Options) (*Device, *Stream) {
	t.Helper()
	d := openDevice(t, o)
	s := openStream(t, d)
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	})
	return d, s
}

// Transfers are larger than the pinned memory, dense and with gaps, and come in any
// order; each slice may be changed as soon as Upload returns.
func TestTransfersGoThroughSmallStaging(t *testing.T) {
	d, s := opened(t, onDevice(t))
	for _, pad := range []int{0, 3} {
		const rows, cols = 90, 1001
		x := kernels.Tensor{Buffer: alloc(t, d, 4*rows*(cols+pad)), DType: kernels.F32, Rows: rows, Cols: cols, Stride: cols + pad}
		src := make([]byte, x.Bytes())
		for i := range src {
			src[i] = byte(i * i >> 3)
		}
		sent := slices.Clone(src)
		first, second := make([]byte, len(src)), make([]byte, len(src))
		s.Upload(x, sent)
		clear(sent)
		s.Download(first, x)
		s.Upload(x, sent)
		s.Download(second, x)
		if err := s.Synchronize(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, src) || !bytes.Equal(second, make([]byte, len(src))) {
			t.Errorf("rows %d apart: what was downloaded is not what was uploaded", cols+pad)
		}
	}
}

// Uploads, kernels and downloads in turns, many to a ring, several rings long: each
// kernel sees what was uploaded before it and each download what was computed before
// it, in whichever order the queues run as far as events let them.
func TestCopiesAndKernelsKeepTheirOrder(t *testing.T) {
	d, s := opened(t, onShim(t))
	const most = 20_000
	x := kernels.NewTensor(alloc(t, d, 4*most), kernels.F32, 1, most)
	rng := rand.New(rand.NewPCG(5, 6))
	for round := range 12 {
		got, want := [][]byte{}, [][]float32{}
		for range 25 {
			n := 1 + rng.IntN(most)
			part := x.SliceCols(0, n)
			v := make([]float32, n)
			for i := range v {
				v[i] = float32(rng.IntN(1 << 20))
			}
			s.Upload(part, kernels.EncodeF32(v))
			for range 1 + rng.IntN(3) { // what was downloaded is what was there then
				s.Add(part, part, part)
				for i := range v {
					v[i] *= 2
				}
				raw := make([]byte, 4*n)
				s.Download(raw, part)
				got, want = append(got, raw), append(want, slices.Clone(v))
			}
		}
		if err := s.Synchronize(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !slices.Equal(kernels.DecodeF32(got[i]), want[i]) {
				t.Fatalf("round %d: download %d of %d is not what was computed", round, i, len(got))
			}
		}
	}
}

// Kernels may run ahead of a download's copy, and an upload's copy ahead of kernels.
func TestCopiesAndKernelsOverlap(t *testing.T) {
	d, s := opened(t, onShim(t))
	x := kernels.NewTensor(alloc(t, d, 4), kernels.F32, 1, 1)
	query := func(q driver.Stream) bool {
		t.Helper()
		done, err := q.Query()
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	kernelsFirst, copyFirst := false, false
	got := make([]byte, 4)
	for turn := range 8 { // the shim runs other queues first in every second wait
		if turn%2 == 1 {
			s.Fill(x, 0)
			if err := s.Synchronize(t.Context()); err != nil || !query(s.queue) {
				t.Fatalf("kernels were not waited for (%v)", err)
			}
		}
		s.Upload(x, kernels.EncodeF32([]float32{3}))
		for !query(s.staging.in) {
		}
		copyFirst = copyFirst || !query(s.queue)
		s.Download(got, x)
		s.Fill(x, 1)
		for !query(s.queue) {
		}
		kernelsFirst = kernelsFirst || !query(s.staging.out)
		if err := s.Synchronize(t.Context()); err != nil || kernels.DecodeF32(got)[0] != 3 {
			t.Fatalf("downloaded %v, %v; want 3", kernels.DecodeF32(got), err)
		}
	}
	if !kernelsFirst || !copyFirst {
		t.Errorf("kernels ran ahead of a download's copy: %v, an upload's copy ahead of its kernel: %v; want both", kernelsFirst, copyFirst)
	}
}

// More small transfers than may be on their way.
func TestManySmallTransfers(t *testing.T) {
	d, s := opened(t, onDevice(t))
	x := kernels.NewTensor(alloc(t, d, 4*mostSegments), kernels.F32, 1, mostSegments)
	var got [2 * mostSegments][]byte
	for i := range got {
		one := x.SliceCols(i/2, i/2+1)
		s.Upload(one, kernels.EncodeF32([]float32{float32(i)}))
		got[i] = make([]byte, 4)
		s.Download(got[i], one)
		if n := len(s.staging.used); n > mostSegments {
			t.Fatalf("%d transfers are on their way", n)
		}
	}
	if err := s.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if v := kernels.DecodeF32(b)[0]; v != float32(i) {
			t.Fatalf("transfer %d brought %v", i, v)
		}
	}
}

// The error names operation, entry, value and limit; the lowest entry counts, and what
// was downloaded before is there while what is downloaded behind is not.
func TestWrongIndexIsReported(t *testing.T) {
	d, s := opened(t, onDevice(t))
	x := kernels.NewTensor(alloc(t, d, 4*12*300), kernels.F32, 12, 300)
	index := kernels.NewTensor(alloc(t, d, 4*4), kernels.I32, 1, 4)
	s.Upload(index, []byte{0, 0, 0, 0, 3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 9, 0, 0, 0}) // 0, 3, −1, 9
	s.Fill(x, 2)
	before, behind := make([]byte, 4), bytes.Repeat([]byte{1}, 4)
	one := x.SliceRows(0, 1).SliceCols(0, 1)
	s.Download(before, one)
	s.GatherRows(x.SliceRows(0, 4), x.SliceRows(4, 7), index)
	s.Fill(x, 3)
	s.Download(behind, one)
	s.Fill(kernels.Tensor{}, 1) // wrong too, and known at once, but later
	err := s.Synchronize(t.Context())
	if err == nil || err.Error() != "gather rows: index[1] is 3, want 0 to 2" {
		t.Errorf("got %v, want the words of CheckRowIndex for entry 1", err)
	}
	if !bytes.Equal(before, []byte{0, 0, 0, 0x40}) || !bytes.Equal(behind, []byte{1, 1, 1, 1}) {
		t.Errorf("downloaded % x before the fault and % x behind it", before, behind)
	}
	other := openStream(t, d)
	defer other.Close()
	other.Download(behind, one)
	if err := other.Synchronize(t.Context()); err != nil || !bytes.Equal(behind, []byte{0, 0, 0, 0x40}) {
		t.Errorf("another stream sees % x, %v; want what was there before the fault", behind, err)
	}
}

// More operations than the queue holds, more indices than are noted.
func TestQueueHasABound(t *testing.T) {
	d, s := opened(t, onDevice(t))
	x := kernels.NewTensor(alloc(t, d, 4*8), kernels.F32, 2, 4)
	y := kernels.NewTensor(alloc(t, d, 4*8), kernels.F32, 2, 4)
	index := kernels.NewTensor(alloc(t, d, 8), kernels.I32, 1, 2)
	s.Upload(index, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	src := kernels.EncodeF32([]float32{0, 1, 2, 3, 4, 5, 6, 7})
	s.Upload(x, src)
	for range 2 * 4 * markEvery { // exchange the rows
		s.GatherRows(y, x, index)
		s.Convert(x, y)
		if running := s.serial.Load() - s.done.Load(); running > 5*markEvery {
			t.Fatalf("%d launches are on their way", running)
		}
		if len(s.checks) > 4*markEvery {
			t.Fatalf("%d checks are noted", len(s.checks))
		}
	}
	got := make([]byte, x.Bytes())
	s.Download(got, x)
	if err := s.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, src) {
		t.Errorf("after an even number of exchanges %v", kernels.DecodeF32(got))
	}
}

func TestSynchronizeObeysItsContext(t *testing.T) {
	d, s := opened(t, onDevice(t))
	x := kernels.NewTensor(alloc(t, d, 4), kernels.F32, 1, 1)
	got := make([]byte, 4)
	s.Fill(x, 1)
	s.Download(got, x)
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	err := s.wait(func(ready func() (bool, error)) error {
		return await(ctx, func() (bool, error) { // as if the GPU hung
			asked++
			if asked == 3 {
				cancel()
			}
			return false, nil
		})
	})
	if !errors.Is(err, context.Canceled) || asked != 3 {
		t.Errorf("asked %d times, then %v; want 3 and a cancelled context", asked, err)
	}
	if !bytes.Equal(got, make([]byte, 4)) {
		t.Error("a download was written before its copy had run")
	}
	if err := s.Synchronize(t.Context()); err != nil || !bytes.Equal(got, []byte{0, 0, 0x80, 0x3f}) {
		t.Errorf("the next wait gave %v and % x", err, got)
	}
}

func TestPatienceEnds(t *testing.T) {
	o := onDevice(t)
	o.Patience = time.Millisecond
	d, _ := opened(t, o)
	err := d.patiently(func() (bool, error) { return false, nil })
	if !errors.Is(err, errPatience) || !strings.Contains(err.Error(), "for 1ms") {
		t.Errorf("a wait for a GPU that hangs gave %v", err)
	}
}

func TestClosedStreamRefuses(t *testing.T) {
	d := openDevice(t, onDevice(t))
	defer d.Close()
	s := openStream(t, d)
	x := kernels.NewTensor(alloc(t, d, 4), kernels.F32, 1, 1)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	s.Fill(x, 1)
	if err := s.Synchronize(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("synchronize after close gave %v", err)
	}
}

// Sums over more rows than a chunk grow the stream's scratch while launches use it.
func TestScratchGrowsUnderLaunches(t *testing.T) {
	d, s := opened(t, onDevice(t))
	var sums [][]byte
	for _, rows := range []int{100, 300, 700} {
		x := kernels.NewTensor(alloc(t, d, 4*rows*9), kernels.F32, rows, 9)
		sum := kernels.NewTensor(alloc(t, d, 4*9), kernels.F32, 1, 9)
		s.Fill(x, 1)
		s.SumRowGroups(sum, x)
		got := make([]byte, sum.Bytes())
		sums = append(sums, got)
		s.Download(got, sum)
	}
	if err := s.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{100, 300, 700} {
		if got := kernels.DecodeF32(sums[i]); got[0] != want || got[8] != want {
			t.Errorf("sum %d is %v, want %v", i, got, want)
		}
	}
}

// Streams of one device allocate, compute and free side by side.
func TestStreamsRunTogether(t *testing.T) {
	d := openDevice(t, onDevice(t))
	var together sync.WaitGroup
	for i := range 3 {
		s := openStream(t, d)
		together.Go(func() {
			for turn := range 20 {
				n := 1000 + 10*turn
				b, err := d.Alloc(4 * n)
				if err != nil {
					t.Error(err)
					return
				}
				x := kernels.NewTensor(b, kernels.F32, 1, n)
				s.Fill(x, float32(i))
				s.Add(x, x, x)
				got := make([]byte, 4*n)
				s.Download(got, x)
				if err := s.Synchronize(t.Context()); err != nil {
					t.Error(err)
				}
				if v := kernels.DecodeF32(got); v[0] != float32(2*i) || v[n-1] != float32(2*i) {
					t.Errorf("stream %d: %v and %v, want %d", i, v[0], v[n-1], 2*i)
				}
				d.Free(b)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
	if got := d.Statistics(); got.Reused == 0 {
		t.Errorf("statistics %+v: nothing was reused", got)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
