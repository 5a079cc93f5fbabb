//go:build cgo && linux

package cuda

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
	"ressa/kernels/cuda/shim"
	"ressa/kernels/cuda/source"
	"ressa/kernels/reference"
)

func TestKindNamesArchitectureAndCompiler(t *testing.T) {
	o := onShim(t)
	d := openDevice(t, o)
	defer d.Close()
	if d.Kind() != "cuda-sm80/1+shim" {
		t.Errorf("kind is %s", d.Kind())
	}
	o.Compute = kernels.BF16
	d = openDevice(t, o)
	defer d.Close()
	if d.Kind() != "cuda-sm80-bf16/1+shim" {
		t.Errorf("kind is %s where products round", d.Kind())
	}
	o.Compute = kernels.F32
	o.Objects = func(major, minor int) (source.Images, error) {
		if major != 8 || minor != 0 {
			t.Errorf("asked for %d.%d, want 8.0", major, minor)
		}
		return source.Images{Architecture: source.PTX, Modules: []source.Module{{Image: []byte("PTX")}}}, nil
	}
	d = openDevice(t, o)
	defer d.Close()
	if rest, ok := strings.CutPrefix(d.Kind(), "cuda-sm80/1+jit"); !ok || rest == "" {
		t.Errorf("kind is %s, want the driver's release behind jit", d.Kind())
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	broken := errors.New("none for this one")
	for _, c := range []struct {
		change func(o *Options)
		want   string
	}{
		{func(o *Options) { o.Library = "/nowhere.so" }, "load the driver: /nowhere.so"},
		{func(o *Options) { o.Device = 3 }, "no GPU 3; there are 1"},
		{func(o *Options) { o.Staging = -1 }, "staging -1"},
		{func(o *Options) { o.Compute = kernels.F64 }, "products of fp64, want fp32 or bf16"},
		{func(o *Options) { o.Objects = func(int, int) (source.Images, error) { return source.Images{}, broken } }, "compute capability 8.0: none for this one"},
		{func(o *Options) {
			o.Objects = func(int, int) (source.Images, error) {
				return source.Images{Modules: []source.Module{{Source: "norm", Image: []byte("invalid: ptx line 7")}}}, nil
			}
		}, "load kernels on GPU 0: norm: cuModuleLoadDataEx: CUDA_ERROR_INVALID_IMAGE (200): device kernel image is invalid: invalid: ptx line 7"},
	} {
		o := onShim(t)
		c.change(&o)
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("open gave %v, want %q", err, c.want)
		}
	}
}

func alloc(t *testing.T, d *Device, bytes int) kernels.Buffer {
	t.Helper()
	b, err := d.Alloc(bytes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func address(b kernels.Buffer) driver.Memory { return b.(*buffer).piece.at }

func TestFreedMemoryIsReused(t *testing.T) {
	d := openDevice(t, onDevice(t))
	defer d.Close()
	a := alloc(t, d, 5000)
	was := address(a)
	d.Free(a)
	d.Free(a) // again: nothing
	if b := alloc(t, d, 6000); address(b) == was {
		t.Error("5,000 bytes serve for 6,000")
	}
	if b := alloc(t, d, 3000); address(b) == was {
		t.Error("a piece of 5,120 bytes serves for 3,000: too much is wasted")
	}
	if b := alloc(t, d, 4800); address(b) != was {
		t.Error("a free piece of 5,120 bytes does not serve for 4,800")
	}
	want := Statistics{InUse: 5120 + 6144 + 3072, Reserved: 5120 + 6144 + 3072, Allocations: 4, Reused: 1}
	want.PeakInUse, want.PeakReserved = want.InUse, want.Reserved
	if got := d.Statistics(); got != want {
		t.Errorf("statistics %+v, want %+v", got, want)
	}
}

// What a stream may still write must not be given to another.
func TestMemoryIsNotReusedBeforeStreamsAreDone(t *testing.T) {
	d := openDevice(t, onDevice(t))
	defer d.Close()
	s, err := d.newStream()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := alloc(t, d, 4096)
	s.Fill(kernels.NewTensor(a, kernels.F32, 1, 1024), 7)
	d.Free(a) // without Synchronize
	b := alloc(t, d, 4096)
	if address(b) == address(a) {
		t.Error("memory was reused while a stream had work on it")
	}
	got := make([]byte, 4096)
	s.Download(got, kernels.NewTensor(b, kernels.F32, 1, 1024))
	if err := s.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, make([]byte, 4096)) {
		t.Error("new memory is not zero")
	}
	if c := alloc(t, d, 4096); address(c) != address(a) {
		t.Error("memory is not reused after the stream was done")
	}
}

// Pieces that nobody uses go back to the driver before an allocation fails.
func TestKeptMemoryIsReturnedWhenThereIsNoMore(t *testing.T) {
	t.Setenv("RESSA_SHIM_MEMORY", "4000000")
	d := openDevice(t, onShim(t))
	defer d.Close()
	a := alloc(t, d, 900_000)
	b := alloc(t, d, 1<<20)
	d.Free(a)
	d.Free(b)
	alloc(t, d, 3_000_000)
	if got := d.Statistics(); got.Returned != 2 || got.Reserved != got.InUse || got.PeakReserved < 3_000_000 {
		t.Errorf("statistics %+v, want two pieces returned", got)
	}
	_, err := d.Alloc(2_000_000)
	if !errors.Is(err, &driver.Error{Code: driver.OutOfMemory}) || !strings.Contains(err.Error(), "cannot allocate 2000000 bytes beside 3014656 in use") {
		t.Errorf("got %v, want what is in use", err)
	}
	alloc(t, d, 1000) // there is room for this
}

func TestDeviceIsClosedAfterItsStreams(t *testing.T) {
	d := openDevice(t, onDevice(t))
	s, err := d.newStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "1 of its streams") {
		t.Errorf("close with an open stream gave %v", err)
	}
	if err := errors.Join(s.Close(), d.Close()); err != nil {
		t.Error(err)
	}
}

// A launch asks for what it needs of shared memory, and names who wants too much.
func TestLaunchesGetDynamicSharedMemory(t *testing.T) {
	o := onShim(t)
	o.Library = shim.Build(t, "shim/testdata/wrong.cu")
	d, s := opened(t, o)
	type probeArgs struct {
		head
		out, in uint64
		n       int64
	}
	out := kernels.NewTensor(alloc(t, d, 4*32), kernels.F32, 1, 32)
	probe := func(kernel string, shared int) error {
		a := &probeArgs{out: uint64(address(out.Buffer)), in: uint64(address(out.Buffer)), n: 1}
		launchWith(s, kernel, driver.Dim{1, 1, 1}, 32, shared, 1, a)
		return s.Synchronize(t.Context())
	}
	for _, shared := range []int{128, 100 << 10, 60 << 10} {
		if err := probe("unset_shared", shared); err != nil {
			t.Errorf("%d bytes: %v", shared, err)
		}
	}
	if err := probe("unset_shared", 1<<20); err == nil || !strings.Contains(err.Error(), "kernel unset_shared: 1048576 bytes of shared memory a block: cuFuncSetAttribute") {
		t.Errorf("a megabyte gave %v", err)
	}
	other := openStream(t, d)
	defer other.Close()
	launch(other, "no_such_kernel", 1, &probeArgs{})
	if err := other.Synchronize(t.Context()); err == nil || err.Error() != "cuda: kernel no_such_kernel is in none of the 1 objects" {
		t.Errorf("a missing kernel gave %v", err)
	}
}

func TestDescribe(t *testing.T) {
	d := openDevice(t, onShim(t))
	defer d.Close()
	g, ok := Describe(d)
	if !ok || g.Name != "shim" || g.Capability != "8.0" || g.UUID != "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f" || g.Memory <= 0 {
		t.Errorf("%+v, %v", g, ok)
	}
	if g, ok := Describe(reference.Open()); ok {
		t.Errorf("the reference is %+v", g)
	}
}

// What is free is what the driver has and what is kept; what streams take for
// themselves is at most what the device says, for the layers of large models.
func TestMemoryIsMeasured(t *testing.T) {
	t.Setenv("RESSA_SHIM_RUNS", "nothing")
	t.Setenv("RESSA_SHIM_MEMORY", "20000000000")
	for _, o := range []Options{onShim(t), rounding(onShim(t))} {
		o.Staging = 0
		t.Run(o.Compute.String(), func(t *testing.T) { measured(t, o) })
	}
}

// measured compares what a device says of its memory with what its streams take.
func measured(t *testing.T, o Options) {
	d, s := opened(t, o)
	memory := func() kernels.Memory {
		t.Helper()
		m, err := d.Memory()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	before := memory()
	if before.Free < 19_000_000_000 || before.Free > 20_000_000_000 {
		t.Errorf("%d bytes are free of 20 GB", before.Free)
	}
	held := alloc(t, d, 1<<30)
	if m := memory(); before.Free-m.Free != 1<<30 {
		t.Errorf("%d bytes less are free beside %d in use", before.Free-m.Free, 1<<30)
	}
	d.Free(held) // and is kept
	if m := memory(); m != before {
		t.Errorf("memory %+v after everything was freed, before %+v", m, before)
	}
	var all []kernels.Buffer
	tensor := func(dtype kernels.DType, rows, cols int) kernels.Tensor {
		all = append(all, alloc(t, d, rows*cols*dtype.Size()))
		return kernels.NewTensor(all[len(all)-1], dtype, rows, cols)
	}
	for _, c := range []struct{ tokens, in, out, rank int }{
		{1, 4096, 4096, 8}, {64, 11008, 4096, 64}, {2048, 4096, 11008, 16}, {2048, 13824, 5120, 64}, {577, 1024, 4096, 128},
	} {
		x, y := tensor(kernels.F32, c.tokens, c.in), tensor(kernels.F32, c.tokens, c.out)
		a, b := tensor(kernels.F32, c.rank, c.in), tensor(kernels.F32, c.out, c.rank)
		for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
			w := kernels.LinearWeight{W: tensor(dtype, c.out, c.in), A: a, B: b, Scale: 1, Round: dtype}
			w.Mask = tensor(kernels.U64, c.out, kernels.MaskWords(c.in))
			s.LinearForward(y, x, w, kernels.Tensor{})
			s.LinearBackwardInput(x, y, w, false)
			s.LinearBackwardAdapter(a, b, y, x, w)
			s.LinearBackwardWeight(tensor(kernels.F32, c.out, c.in), y, x, w.Mask)
			if err := s.Synchronize(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, used := range all {
			d.Free(used)
		}
		all = nil
	}
	const batch, heads, dim, tokens = 4, 32, 128, 512
	f := kernels.AttentionArgs{Batch: batch, Heads: heads, KVHeads: heads, HeadDim: dim, QueryLen: tokens, KeyLen: tokens, Scale: 1,
		LogSumExp: tensor(kernels.F32, batch*heads, tokens)}
	var g kernels.AttentionGrads
	for _, x := range []*kernels.Tensor{&f.Q, &f.K, &f.V, &f.O, &g.DO, &g.DQ, &g.DK, &g.DV} {
		*x = tensor(kernels.F32, batch*tokens, heads*dim)
	}
	s.AttentionForward(f)
	s.AttentionBackward(f, g)
	s.Download(make([]byte, 8), tensor(kernels.F32, 1, 2))
	if err := s.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := d.Statistics().PeakStreams; int64(took) > before.Stream || int64(took) < before.Stream/2 {
		t.Errorf("a stream took %d bytes for itself, said to be %d at most", took, before.Stream)
	}
}
