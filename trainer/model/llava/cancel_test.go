package llava_test

import (
	"context"
	"errors"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/model/llava"
)

// counting is a device that cancels a context once it has given out some memory.
type counting struct {
	kernels.Device
	left   int
	cancel func()
	given  int
}

func (d *counting) Alloc(bytes int) (kernels.Buffer, error) {
	d.given++
	if d.left--; d.left == 0 {
		d.cancel()
	}
	return d.Device.Alloc(bytes)
}

// Making a model ends between two of its parameters, whatever is still to come.
func TestMakingAModelIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := &counting{Device: reference.Open(), left: 3, cancel: cancel}
	if m, err := llava.New(ctx, d, smallConfig(), 1, llava.Options{}); !errors.Is(err, context.Canceled) || m != nil {
		t.Errorf("model %v, error %v", m, err)
	}
	if d.given != 3 {
		t.Errorf("%d parameters were allocated, want the 3 before the end of the context", d.given)
	}
}
