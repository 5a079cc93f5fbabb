package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/reference"
)

// wrong is a device whose streams forget the adapter in one operation.
type wrong struct{ kernels.Device }

func (w wrong) NewStream() (kernels.Stream, error) {
	s, err := w.Device.NewStream()
	return wrongStream{s}, err
}

type wrongStream struct{ kernels.Stream }

func (s wrongStream) LinearBackwardInput(dx, dy kernels.Tensor, w kernels.LinearWeight, accumulate bool) {
	w.A, w.B = kernels.Tensor{}, kernels.Tensor{}
	s.Stream.LinearBackwardInput(dx, dy, w, accumulate)
}

// hanging is a device that never gives memory.
type hanging struct {
	kernels.Device
	over <-chan struct{}
}

func (h hanging) Alloc(int) (kernels.Buffer, error) {
	<-h.over
	return nil, errors.New("over")
}

func TestADeviceThatHangsIsLeftBehind(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	proved := make(chan error, 1)
	go func() { proved <- prove(ctx, hanging{reference.Open(), over}, 1e-6) }()
	select {
	case err := <-proved:
		if !errors.Is(err, errHangs) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the proof hangs with the device")
	}
}

func TestDevicesAreProved(t *testing.T) {
	if err := prove(t.Context(), reference.Open(), 1e-6); err != nil {
		t.Error(err)
	}
	if d, err := cpu.Open(cpu.Options{}); err == nil {
		if err := prove(t.Context(), d, 1e-4); err != nil {
			t.Error(err)
		}
	}
	if err := prove(t.Context(), wrong{reference.Open()}, 1e-1); err == nil || !strings.Contains(err.Error(), "it computes wrongly: element 0 of dx") {
		t.Error(err)
	}
}
