//go:build cgo

package dense

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/cpu/openblas"
)

// Options configures a device.
type Options struct {
	// Threads is how many threads one operation computes with; 0 means as many as
	// there are processors. OpenBLAS has one setting for the whole process.
	Threads int
}

type device struct {
	kernels.Device
	library *openblas.Library
	threads int
}

// Open returns the device. It fails without OpenBLAS or the C kernels.
func Open(o Options) (kernels.Device, error) {
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	d, err := cpu.Open(cpu.Options{Threads: o.Threads})
	if err != nil {
		return nil, err
	}
	wrapped, err := Wrap(d, o.Threads)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return wrapped, nil
}

// Wrap returns a device that computes on the memory of d, a device of package cpu,
// so that both take the same operands. Closing it closes d.
func Wrap(d kernels.Device, threads int) (kernels.Device, error) {
	library, err := openblas.Load()
	if err != nil {
		return nil, err
	}
	library.SetThreads(threads)
	return &device{Device: d, library: library, threads: threads}, nil
}

// Kind names OpenBLAS's core beside the kernels of the other operations.
func (d *device) Kind() string {
	return fmt.Sprintf("%s+openblas-%s", d.Device.Kind(), d.library.Core())
}

func (d *device) NewStream() (kernels.Stream, error) {
	s, err := d.Device.NewStream()
	if err != nil {
		return nil, err
	}
	return &stream{Stream: s, device: d, free: map[int][]kernels.Buffer{}, kept: map[key]kernels.Tensor{}}, nil
}

// stream runs each operation before the call returns, as those of package cpu do.
// What is wrong with an operation is left to the embedded stream to refuse: its
// first error sticks.
type stream struct {
	kernels.Stream
	device *device
	free   map[int][]kernels.Buffer // by size
	kept   map[key]kernels.Tensor
	err    error // of scratch memory
}

// key names a W_eff by what it is made of.
type key struct {
	w, mask, a, b kernels.Tensor
	scale         float32
	round         kernels.DType
}

func keyOf(w kernels.LinearWeight) key { return key{w.W, w.Mask, w.A, w.B, w.Scale, w.Round} }

// scratch returns F32 (rows, cols) of undefined contents.
func (s *stream) scratch(rows, cols int) (kernels.Tensor, bool) {
	n := 4 * rows * cols
	if list := s.free[n]; len(list) > 0 {
		b := list[len(list)-1]
		s.free[n] = list[:len(list)-1]
		return kernels.NewTensor(b, kernels.F32, rows, cols), true
	}
	b, err := s.device.Alloc(n)
	if err != nil {
		s.err = errors.Join(s.err, err)
		return kernels.Tensor{}, false
	}
	return kernels.NewTensor(b, kernels.F32, rows, cols), true
}

func (s *stream) put(t kernels.Tensor) {
	s.free[t.Buffer.Bytes()] = append(s.free[t.Buffer.Bytes()], t.Buffer)
}

// ready reports whether to compute: nothing failed before and all operands are
// this device's.
func (s *stream) ready(operands ...kernels.Tensor) bool {
	if s.err != nil || s.Stream.Synchronize(context.Background()) != nil {
		return false
	}
	for _, t := range operands {
		if !t.IsZero() && s.at(t) == nil {
			return false
		}
	}
	return true
}

// Synchronize has nothing to wait for.
func (s *stream) Synchronize(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	return s.Stream.Synchronize(ctx)
}

// Close frees the scratch.
func (s *stream) Close() error {
	for _, t := range s.kept {
		s.device.Free(t.Buffer)
	}
	for _, list := range s.free {
		for _, b := range list {
			s.device.Free(b)
		}
	}
	s.kept, s.free = nil, map[int][]kernels.Buffer{}
	return s.Stream.Close()
}
