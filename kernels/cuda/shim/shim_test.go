//go:build cgo && linux

package shim_test

import (
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
	"ressa/kernels/cuda/shim"
)

// probe is the argument of all kernels of testdata/wrong.cu.
type probe struct {
	fault, serial uint64
	out, in       driver.Memory
	n             int64
}

// rig is a context on the shim with memory for one kernel.
type rig struct {
	t       *testing.T
	context *driver.Context
	module  *driver.Module
	stream  driver.Stream
	args    probe
	host    *driver.Host
}

const floats = 512 // of in and of out

func newRig(t *testing.T) *rig {
	t.Helper()
	return rigOf(t, shim.Build(t, filepath.Join("testdata", "wrong.cu")))
}

// rigOf is a rig on the shim at this path.
func rigOf(t *testing.T, path string) *rig {
	t.Helper()
	library, err := driver.Open(path)
	must(t, err)
	r := &rig{t: t}
	r.context, err = library.Retain(0)
	must(t, err)
	t.Cleanup(func() { must(t, r.context.Release()) })
	r.module, err = r.context.LoadModule([]byte("any"))
	must(t, err)
	r.stream, err = r.context.NewStream()
	must(t, err)
	r.host, err = r.context.AllocHost(4 * floats)
	must(t, err)
	t.Cleanup(func() { must(t, r.context.FreeHost(r.host)) })
	fault, err := r.context.Alloc(16)
	must(t, err)
	must(t, r.stream.Set(fault, 0, 16))
	r.args.fault, r.args.serial, r.args.n = uint64(fault), 1, floats
	for _, m := range []*driver.Memory{&r.args.in, &r.args.out} {
		*m, err = r.context.Alloc(4 * floats)
		must(t, err)
	}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run fills in, runs the kernel and returns out, or what went wrong while it ran.
func (r *rig) run(kernel string, blocks, threads uint32, shared int, in []float32) ([]float32, error) {
	r.t.Helper()
	copy(r.host.Bytes(), kernels.EncodeF32(in))
	must(r.t, r.stream.CopyToDevice(r.args.in, r.host, 0, 4*floats))
	must(r.t, r.stream.Synchronize())
	if err := r.launch(kernel, blocks, threads, shared); err != nil {
		return nil, err
	}
	must(r.t, r.stream.CopyToHost(r.host, 0, r.args.out, 4*floats))
	if err := r.stream.Synchronize(); err != nil {
		return nil, err
	}
	return kernels.DecodeF32(r.host.Bytes()), nil
}

// launch enqueues the kernel, or returns why it was refused.
func (r *rig) launch(kernel string, blocks, threads uint32, shared int) error {
	r.t.Helper()
	f, err := r.module.Function(kernel)
	must(r.t, err)
	return r.stream.Launch(f, driver.Dim{blocks, 1, 1}, driver.Dim{threads, 1, 1}, shared, unsafe.Pointer(&r.args), unsafe.Sizeof(r.args))
}

func TestShimFindsWrongKernels(t *testing.T) {
	for _, c := range []struct {
		kernel  string
		threads uint32
		shared  int
		code    int
		want    string
	}{
		{"divergent_barrier", 64, 0, driver.LaunchFailed, "threads part at a barrier: thread 0 waits at the barrier at wrong.cu:14, thread 32 has ended"},
		{"two_barriers", 64, 0, driver.LaunchFailed, "thread 0 waits at the barrier at wrong.cu:19, thread 1 waits at the barrier at wrong.cu:18"},
		{"missing_lane", 32, 0, driver.LaunchFailed, "an operation of a warp at wrong.cu:30 misses a lane: thread 5 has ended"},
		{"lanes_apart", 32, 0, driver.LaunchFailed, "misses a lane: thread 7 waits for its warp at wrong.cu:35"},
		{"short_warp", 40, 0, driver.LaunchFailed, "the last warp of 40 threads has 8"},
		{"reads_behind", 1, 0, driver.IllegalAddress, "out of bounds, byte 2048 to 2052 of an allocation of 2048 bytes, at wrong.cu:40"},
		{"writes_before", 1, 0, driver.IllegalAddress, "out of bounds, 4 bytes before an allocation of 2048 bytes, at wrong.cu:41"},
		{"off_alignment", 1, 0, 716, "address is no multiple of 4"},
		{"same_places", 32, 0, driver.LaunchFailed, "row 0 of a sparse matrix has values at places 0 and 0 of four, which do not ascend at wrong.cu:"},
		{"overruns_shared", 1, 2048, driver.LaunchFailed, "byte 2048 of 2048 of dynamic shared memory was written"},
	} {
		t.Run(c.kernel, func(t *testing.T) {
			r := newRig(t)
			_, err := r.run(c.kernel, 1, c.threads, c.shared, nil)
			if !errors.Is(err, &driver.Error{Code: c.code}) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want code %d and %q", err, c.code, c.want)
			}
			if !strings.Contains(err.Error(), "kernel "+c.kernel+", block (0, 0, 0)") {
				t.Errorf("%v does not name kernel and block", err)
			}
			// As on a GPU, nothing works in this context any more.
			if _, again := r.context.Alloc(1); again == nil {
				t.Error("the context went on after a failed launch")
			}
		})
	}
}

func TestShimFindsUseAfterFree(t *testing.T) {
	r := newRig(t)
	must(t, r.context.Free(r.args.in))
	f, err := r.module.Function("warp_sum")
	must(t, err)
	must(t, r.stream.Launch(f, driver.Dim{1, 1, 1}, driver.Dim{32, 1, 1}, 0, unsafe.Pointer(&r.args), unsafe.Sizeof(r.args)))
	if err := r.stream.Synchronize(); !errors.Is(err, &driver.Error{Code: driver.IllegalAddress}) || !strings.Contains(err.Error(), "that was freed") {
		t.Errorf("got %v, want an illegal address in freed memory", err)
	}
}

// Threads that race give other bits when they run backwards, as in every second launch.
func TestMissingBarrierGivesOtherBitsInASecondRun(t *testing.T) {
	r := newRig(t)
	first, err := r.run("missing_barrier", 1, 64, 0, nil)
	must(t, err)
	second, err := r.run("missing_barrier", 1, 64, 0, nil)
	must(t, err)
	differ := 0
	for i := range 64 {
		if math.Float32bits(first[i]) != math.Float32bits(second[i]) {
			differ++
		}
	}
	if differ == 0 {
		t.Error("two launches of a kernel without its barrier gave the same bits")
	}
}

func TestSharedMemoryBeginsAsNaN(t *testing.T) {
	for range 2 { // both orders of the blocks
		out, err := newRig(t).run("unset_shared", 2, 32, 128, nil)
		must(t, err)
		for i, v := range out[:32] {
			if v == v {
				t.Errorf("thread %d read %v from shared memory that nobody wrote", i, v)
			}
		}
	}
}

func TestCopiesHappenWhereTheyAreWaitedFor(t *testing.T) {
	in := make([]float32, floats)
	for i := range in {
		in[i] = float32(i + 1)
	}
	r := newRig(t)
	for _, c := range []struct {
		kernel  string
		arrived int
	}{{"waits_for_copies", 128}, {"waits_for_one_copy", 64}} {
		out, err := r.run(c.kernel, 1, 16, 0, in)
		must(t, err)
		for i, v := range out[:128] {
			want := in[i]
			if i%64 == 2 || i%64 == 3 { // thread 0 copied 8 bytes; the rest is zero
				want = 0
			}
			if i >= c.arrived {
				if v == v {
					t.Errorf("%s: element %d is %v before its copy was waited for", c.kernel, i, v)
				}
			} else if v != want {
				t.Errorf("%s: element %d is %v, want %v", c.kernel, i, v, want)
			}
		}
	}
}

// Fragments and products as PTX's manual has them: a 16 × 16 matrix times a 16 × 8 one.
func TestWarpProduct(t *testing.T) {
	in := make([]float32, floats)
	for i := range in {
		in[i] = float32((i*7+i*i)%33 - 16) // exact in bfloat16
	}
	out, err := newRig(t).run("warp_product", 1, 32, 0, in)
	must(t, err)
	for r := range 16 {
		for c := range 8 {
			want := float32(0)
			for k := range 16 {
				want += in[r*16+k] * in[256+k*8+c]
			}
			if got := out[r*8+c]; got != want {
				t.Errorf("(%d, %d) is %v, want %v", r, c, got, want)
			}
		}
	}
}

// As above, of a 16 × 32 matrix of which two values of each four are there.
func TestWarpSparseProduct(t *testing.T) {
	in := make([]float32, floats)
	for i := range in {
		in[i] = float32((i*7+i*i)%33 - 16)
	}
	out, err := newRig(t).run("warp_sparse_product", 1, 32, 0, in)
	must(t, err)
	for r := range 16 {
		for c := range 8 {
			want := float32(0)
			for g := range 8 {
				for e := range 2 {
					want += in[r*16+2*g+e] * in[256+(4*g+(r+g)%3+e)*8+c]
				}
			}
			if got := out[r*8+c]; got != want {
				t.Errorf("(%d, %d) is %v, want %v", r, c, got, want)
			}
		}
	}
}

func TestWarpSum(t *testing.T) {
	in := make([]float32, floats)
	want := make([]float32, floats/32)
	for i := range in {
		in[i] = float32(i % 41)
		want[i/32] += in[i]
	}
	out, err := newRig(t).run("warp_sum", 4, 128, 0, in)
	must(t, err)
	for i, v := range want {
		if out[i] != v {
			t.Errorf("warp %d: %v, want %v", i, out[i], v)
		}
	}
}

// A kernel behind one that found a fault does nothing; one before it did.
func TestKernelsBehindAFaultAreDropped(t *testing.T) {
	r := newRig(t)
	binary.LittleEndian.PutUint64(r.host.Bytes(), 5) // launch 5 found one
	must(t, r.stream.CopyToDevice(driver.Memory(r.args.fault), r.host, 0, 8))
	must(t, r.stream.Synchronize())
	for _, c := range []struct {
		serial uint64
		runs   bool
	}{{5, true}, {4, true}, {6, false}} {
		must(t, r.stream.Set(r.args.out, 0, 4*floats))
		r.args.serial = c.serial
		in := make([]float32, floats)
		in[0] = 1
		out, err := r.run("warp_sum", 1, 32, 0, in)
		must(t, err)
		if ran := out[0] == 1; ran != c.runs {
			t.Errorf("launch %d beside a fault of launch 5 ran: %v, want %v", c.serial, ran, c.runs)
		}
	}
}
