//go:build unix

package opaque

import (
	"context"
	"runtime/debug"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/kerneltest"
)

func TestTable(t *testing.T) { kerneltest.Run(t, Open) }

// start returns a stream and a tensor of 16 floats.
func start(t *testing.T) (kernels.Device, kernels.Stream, kernels.Tensor) {
	t.Helper()
	d := Open()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Alloc(64)
	if err != nil {
		t.Fatal(err)
	}
	return d, s, kernels.NewTensor(b, kernels.F32, 4, 4)
}

func TestMemoryIsOutOfReach(t *testing.T) {
	d, s, x := start(t)
	s.Fill(x, 1)
	if err := s.Synchronize(context.Background()); err != nil {
		t.Fatal(err)
	}
	fault := func() (fault any) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() { fault = recover() }()
		return x.Buffer.(*buffer).pages[0]
	}()
	if err, ok := fault.(error); !ok || !strings.Contains(err.Error(), "invalid memory address") {
		t.Errorf("reading a buffer gave %v, want a fault", fault)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestNothingRunsBeforeSynchronize(t *testing.T) {
	d, s, x := start(t)
	src, got := make([]byte, 64), make([]byte, 64)
	s.Upload(x, src)
	src[0] = 7 // too early: the contract forbids it, and it shows
	s.Download(got, x)
	if got[0] != 0 {
		t.Error("a download ran before Synchronize")
	}
	if err := s.Synchronize(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got[0] != 7 {
		t.Error("an upload ran before Synchronize")
	}
	s.Fill(x, 0)
	s.Download(got, x)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got[0] != 0 {
		t.Error("Close did not run what was enqueued")
	}
	if err := s.Synchronize(context.Background()); err == nil {
		t.Error("synchronize after Close gave no error")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestMistakesOfTheCaller(t *testing.T) {
	d, s, x := start(t)
	d.Free(x.Buffer)
	s.Fill(x, 1)
	if err := s.Synchronize(context.Background()); err == nil {
		t.Error("an operation on a freed buffer gave no error")
	}
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "1 streams were not closed") {
		t.Errorf("closing the device before its stream gave %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
