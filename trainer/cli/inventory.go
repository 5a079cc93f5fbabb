package cli

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"time"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/cuda"
)

// inventory opens what the node computes on, to say what it is and how fast. A GPU is
// offered twice, since how products are computed is part of its numeric kind. gpus
// names by UUID the GPUs that are offered. What was chosen stays chosen: a device that
// is opened later for a job is the one that was offered.
func (n *node) inventory(ctx context.Context, log *slog.Logger) (devices []api.Device, gpus map[string]string, err error) {
	for _, compute := range []string{api.ComputeFP32, api.ComputeBF16} {
		o, err := openDevice(n.device, n.threads, work{0, runtime.NumCPU(), compute}, log)
		if err != nil && len(devices) > 0 { // what the GPU can do, it offers
			devices[0].Note += "; it does not compute in " + compute + ": " + err.Error()
			return devices, gpus, nil
		}
		if err != nil {
			return nil, nil, err
		}
		gpu, ok := cuda.Describe(o.Device)
		speed, err := productSpeed(ctx, o.Device)
		d := api.Device{Name: o.Name, Kind: o.Kind(), Speed: speed, Note: o.Note}
		if err := errors.Join(err, offerMemory(&d, o.Device), o.Close()); err != nil {
			return nil, nil, err
		}
		if !ok {
			d.Speed *= float64(o.Lanes)
			n.device.GPU = -1
			return append(devices, d), nil, nil
		}
		n.device.Auto = false
		gpus = map[string]string{gpu.UUID: o.Name}
		if d.Note = gpu.Name; compute != api.ComputeFP32 {
			d.Compute, d.Note = compute, ""
		}
		devices = append(devices, d)
	}
	return devices, gpus, nil
}

// productSpeed measures a product of dense matrices on one lane, in flop/s. The product
// grows until it takes long enough for its launch not to count.
func productSpeed(ctx context.Context, d kernels.Device) (speed float64, err error) {
	const long, widest = 2 * time.Millisecond, 4096
	for rows, width := 128, 512; ; rows, width = 2*rows, 2*width {
		best, err := productTime(ctx, d, rows, width)
		if err != nil {
			return 0, err
		}
		speed = max(speed, 2*float64(rows)*float64(width)*float64(width)/best.Seconds())
		if best >= long || width >= widest {
			return speed, nil
		}
	}
}

// productTime returns the shortest time of several products (rows, width)·(width, width).
func productTime(ctx context.Context, d kernels.Device, rows, width int) (best time.Duration, err error) {
	const turns = 5
	s, err := d.NewStream()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var x, y, w kernels.Tensor
	for _, t := range []struct {
		*kernels.Tensor
		rows int
	}{{&x, rows}, {&y, rows}, {&w, width}} {
		b, err := d.Alloc(t.rows * width * kernels.F32.Size())
		if err != nil {
			return 0, err
		}
		defer d.Free(b)
		*t.Tensor = kernels.NewTensor(b, kernels.F32, t.rows, width)
	}
	s.Fill(x, 1)
	s.Fill(w, 1)
	if err := s.Synchronize(ctx); err != nil {
		return 0, err
	}
	for turn := range turns {
		began := time.Now()
		s.LinearForward(y, x, kernels.LinearWeight{W: w, Round: kernels.F32}, kernels.Tensor{})
		if err := s.Synchronize(ctx); err != nil {
			return 0, err
		}
		if took := time.Since(began); turn == 0 || took < best {
			best = took
		}
	}
	return best, nil
}
