//go:build cgo && linux

package driver_test

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"ressa/kernels/cuda/driver"
	"ressa/kernels/cuda/shim"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) (*driver.Library, *driver.Context) {
	t.Helper()
	l, err := driver.Open(shim.Build(t))
	must(t, err)
	c, err := l.Retain(0)
	must(t, err)
	t.Cleanup(func() { must(t, c.Release()) })
	return l, c
}

// wants verifies the call, the name and the words of an error.
func wants(t *testing.T, err error, call, name, words string) {
	t.Helper()
	var e *driver.Error
	if !errors.As(err, &e) || e.Call != call || e.Name != name || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want %s: %s with %q", err, call, name, words)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	if _, err := driver.Open("/nowhere/libcuda.so.1"); err == nil || !strings.Contains(err.Error(), "/nowhere/libcuda.so.1") {
		t.Errorf("a missing library gave %v", err)
	}
	if _, err := driver.Open("libc.so.6"); err == nil || !strings.Contains(err.Error(), "libc.so.6 has no cuInit") {
		t.Errorf("another library gave %v", err)
	}
}

func TestDeviceIsDescribed(t *testing.T) {
	l, c := open(t)
	n, err := l.Devices()
	must(t, err)
	p, err := l.Properties(0)
	must(t, err)
	major, minor, err := l.Version()
	must(t, err)
	if n != 1 || p.Name != "shim" || p.Major != 8 || p.Minor != 0 || p.Multiprocessors != 108 || p.SharedOptin != 163<<10 || major != 12 || minor != 8 {
		t.Errorf("%d devices, first %+v, CUDA %d.%d", n, p, major, minor)
	}
	if free, total, err := c.MemoryInfo(); err != nil || total != p.Memory || free > total || free <= 0 {
		t.Errorf("%d of %d bytes free, %v; memory is %d", free, total, err, p.Memory)
	}
	if r, err := l.Release(); err != nil || r == "" {
		t.Errorf("release %q, %v", r, err)
	}
	_, err = l.Properties(7)
	wants(t, err, "cuDeviceGet", "CUDA_ERROR_UNNAMED", "(101): no such device")
}

func TestErrorsNameTheCall(t *testing.T) {
	_, c := open(t)
	_, err := c.Alloc(1 << 40)
	wants(t, err, "cuMemAlloc_v2", "CUDA_ERROR_OUT_OF_MEMORY", "1099511627776 bytes")
	if !errors.Is(err, &driver.Error{Code: driver.OutOfMemory}) || errors.Is(err, &driver.Error{Code: driver.LaunchFailed}) {
		t.Errorf("%v is not told apart by its code", err)
	}
	wants(t, c.Free(12), "cuMemFree_v2", "CUDA_ERROR_INVALID_VALUE", "not an allocation")
	_, err = c.LoadModule([]byte("invalid PTX: line 3, unknown instruction"))
	wants(t, err, "cuModuleLoadDataEx", "CUDA_ERROR_INVALID_IMAGE", "line 3, unknown instruction")
	if _, err := c.LoadModule(nil); err == nil {
		t.Error("no object was loaded without an error")
	}
	m, err := c.LoadModule([]byte("any"))
	must(t, err)
	_, err = m.Function("no_such_kernel")
	wants(t, err, "cuModuleGetFunction", "CUDA_ERROR_NOT_FOUND", "kernel no_such_kernel")
	f, err := m.Function("fill")
	must(t, err)
	wants(t, f.SetDynamicShared(1<<20), "cuFuncSetAttribute", "CUDA_ERROR_INVALID_VALUE", "1048576 bytes")
	s, err := c.NewStream()
	must(t, err)
	var args [3]uint64
	err = s.Launch(f, driver.Dim{1, 1, 1}, driver.Dim{1, 1, 1}, 0, unsafe.Pointer(&args), unsafe.Sizeof(args))
	wants(t, err, "cuLaunchKernel", "CUDA_ERROR_INVALID_VALUE", "kernel fill takes 64 bytes of arguments, not 24")
	must(t, m.Unload())
}

func TestFunctionAttributes(t *testing.T) {
	_, c := open(t)
	m, err := c.LoadModule([]byte("any"))
	must(t, err)
	f, err := m.Function("fill")
	must(t, err)
	if a, err := f.Attributes(); err != nil || a.MaxThreads != 256 {
		t.Errorf("attributes %+v, %v; want 256 threads", a, err)
	}
	must(t, f.SetDynamicShared(100<<10))
}

// Copies go by streams, which wait for each other only by events.
func TestStreamsAndEvents(t *testing.T) {
	_, c := open(t)
	a, err := c.NewStream()
	must(t, err)
	b, err := c.NewStream()
	must(t, err)
	start, err := c.NewEvent(true)
	must(t, err)
	end, err := c.NewEvent(true)
	must(t, err)
	const n = 1000
	h, err := c.AllocHost(2 * n)
	must(t, err)
	x, err := c.Alloc(n)
	must(t, err)
	y, err := c.Alloc(n)
	must(t, err)
	for i := range n {
		h.Bytes()[i] = byte(i % 251)
	}
	if done, err := start.Query(); !done || err != nil {
		t.Errorf("an event that was never recorded: %v, %v", done, err)
	}
	must(t, a.Record(start))
	must(t, a.Set(x, 9, n))
	must(t, a.CopyToDevice(x, h, 0, n-10))
	must(t, a.Record(end))
	must(t, b.Wait(end))
	must(t, b.Copy(y, x, n))
	must(t, b.CopyToHost(h, n, y, n))
	if done, err := end.Query(); done || err != nil {
		t.Errorf("an event in a stream that has work: %v, %v", done, err)
	}
	must(t, b.Synchronize())
	if done, err := a.Query(); !done || err != nil {
		t.Errorf("the stream that was waited for: %v, %v", done, err)
	}
	for i, v := range h.Bytes()[n:] {
		if want := byte(i % 251); i < n-10 && v != want || i >= n-10 && v != 9 {
			t.Fatalf("byte %d is %d", i, v)
		}
	}
	if ms, err := end.Since(start); err != nil || ms < 0 {
		t.Errorf("%v ms between the events, %v", ms, err)
	}
	must(t, end.Synchronize())
	for _, f := range []func() error{start.Destroy, end.Destroy, a.Destroy, b.Destroy, func() error { return c.FreeHost(h) },
		func() error { return c.Free(x) }, func() error { return c.Free(y) }} {
		must(t, f())
	}
}

// Without an event between them streams run in any order, and the shim tries both: a
// wait that is missing shows in one of two runs, whichever of the streams the host
// waits for.
func TestStreamsWithoutAnEventRunInAnyOrder(t *testing.T) {
	_, c := open(t)
	a, err := c.NewStream()
	must(t, err)
	b, err := c.NewStream()
	must(t, err)
	e, err := c.NewEvent(false)
	must(t, err)
	h, err := c.AllocHost(1)
	must(t, err)
	x, err := c.Alloc(1)
	must(t, err)
	both := func() { must(t, errors.Join(a.Synchronize(), b.Synchronize())) }
	// run writes 7 in a and reads in b, with the event or without; the host waits for one of them first.
	run := func(event bool, first driver.Stream) byte {
		must(t, a.Set(x, 0, 1))
		both()
		must(t, a.Set(x, 7, 1))
		if event {
			must(t, errors.Join(a.Record(e), b.Wait(e)))
		}
		must(t, b.CopyToHost(h, 0, x, 1))
		must(t, first.Synchronize())
		both()
		return h.Bytes()[0]
	}
	for name, first := range map[string]driver.Stream{"writer": a, "reader": b} {
		seen := map[byte]bool{}
		for range 8 {
			seen[run(false, first)] = true
			if v := run(true, first); v != 7 {
				t.Errorf("%s waited for first: read %d behind the event, want 7", name, v)
			}
			must(t, errors.Join(a.Set(x, 0, 1), a.Synchronize())) // so that the turns shift
		}
		if !seen[0] || !seen[7] {
			t.Errorf("%s waited for first: without an event read %v, want old and new", name, seen)
		}
	}
	must(t, errors.Join(e.Destroy(), a.Destroy(), b.Destroy(), c.FreeHost(h), c.Free(x)))
}

// The context is current in every call, whichever thread makes it.
func TestCallsNeedNoThread(t *testing.T) {
	_, c := open(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
			m, err := c.Alloc(100)
			if err == nil {
				err = c.Free(m)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
