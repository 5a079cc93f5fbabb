package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/random"
)

// proofWait is how long a GPU may take for one small layer.
const proofWait = time.Minute

// errHangs is returned where a GPU does not even fail. Closing it would wait as well.
var errHangs = errors.New("it hangs")

// prove has a GPU compute a small layer forward and backward and compares it with the
// reference: a driver or a GPU that computes wrongly is found before a job starts.
// The tolerance is relative to a result's root mean square.
func prove(ctx context.Context, d kernels.Device, tolerance float64) error {
	ctx, cancel := context.WithTimeout(ctx, proofWait)
	defer cancel()
	var found [][]float32
	ended := make(chan error, 1)
	go func() { // ends with the GPU's patience, where that hangs
		var err error
		found, err = smallLayer(ctx, d)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("compute a small layer: %w", err)
		}
	case <-ctx.Done():
		return fmt.Errorf("compute a small layer: %w (%w)", errHangs, ctx.Err())
	}
	expected := reference.Open()
	want, err := smallLayer(ctx, expected)
	if err := errors.Join(err, expected.Close()); err != nil {
		return fmt.Errorf("compute a small layer on the reference: %w", err)
	}
	for i, name := range []string{"y", "dx", "dA", "dB"} {
		square := 0.0
		for _, v := range want[i] {
			square += float64(v) * float64(v)
		}
		rms := math.Sqrt(square / float64(len(want[i])))
		for j, v := range found[i] {
			if off := math.Abs(float64(v) - float64(want[i][j])); !(off <= tolerance*rms) {
				return fmt.Errorf("it computes wrongly: element %d of %s of a small layer is %v, want %v", j, name, v, want[i][j])
			}
		}
	}
	return nil
}

// smallLayer returns y, dx, dA and dB of a layer whose sizes fit no tile.
func smallLayer(ctx context.Context, d kernels.Device) (out [][]float32, err error) {
	const tokens, in, width, rank = 70, 192, 152, 5
	s, err := d.NewStream()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var buffers []kernels.Buffer
	defer func() {
		for _, b := range buffers {
			d.Free(b)
		}
	}()
	seed := uint64(0)
	tensor := func(t kernels.DType, rows, cols int) kernels.Tensor {
		b, e := d.Alloc(rows * cols * t.Size())
		err = errors.Join(err, e)
		buffers = append(buffers, b)
		return kernels.NewTensor(b, t, rows, cols)
	}
	given := func(rows, cols int) kernels.Tensor {
		seed++
		numbers, values := random.New(seed, 0, 0, 0), make([]float32, rows*cols)
		for i := range values {
			values[i] = numbers.Normal()
		}
		t := tensor(kernels.F32, rows, cols)
		if err == nil {
			s.Upload(t, kernels.EncodeF32(values))
		}
		return t
	}
	mask := tensor(kernels.U64, width, kernels.MaskWords(in))
	x, dy := given(tokens, in), given(tokens, width)
	w := kernels.LinearWeight{W: given(width, in), Mask: mask, A: given(rank, in), B: given(width, rank), Scale: 0.5, Round: kernels.BF16}
	results := []kernels.Tensor{tensor(kernels.F32, tokens, width), tensor(kernels.F32, tokens, in), tensor(kernels.F32, rank, in), tensor(kernels.F32, width, rank)}
	if err != nil {
		return nil, err
	}
	bits := make([]byte, mask.Bytes())
	for i := range bits {
		bits[i] = byte(0x53 * (i + 1)) // some half of them
	}
	s.Upload(mask, bits)
	s.LinearForward(results[0], x, w, kernels.Tensor{})
	s.LinearBackwardInput(results[1], dy, w, false)
	s.LinearBackwardAdapter(results[2], results[3], dy, x, w)
	raw := make([][]byte, len(results))
	for i, r := range results {
		raw[i] = make([]byte, r.Bytes())
		s.Download(raw[i], r)
	}
	if err := s.Synchronize(ctx); err != nil {
		return nil, err
	}
	for _, b := range raw {
		out = append(out, kernels.DecodeF32(b))
	}
	return out, nil
}
