package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/cuda"
	"ressa/kernels/reference"
)

// deviceUsage describes --device.
const deviceUsage = "what computes: auto (a GPU where one can be used), cpu, cuda or cuda:N"

// smallModel is the size of the weights, in bytes, below which several microbatches
// are computed at the same time; above it all threads work on one, whose activations
// are what memory is short of. The result is the same bits either way.
const smallModel = 200_000_000

// gpuLanes is how many microbatches of a small model a GPU computes at the same time:
// while one waits for its copies, or leaves multiprocessors idle, another computes.
const gpuLanes = 2

// work is what a device is opened for.
type work struct {
	weights      int64  // bytes
	microbatches int    // at most so many at the same time
	compute      string // api.ComputeFP32 or api.ComputeBF16
}

// workOf returns what a job needs of a device.
func workOf(j api.Job) work {
	return work{weightBytes(j.Model.Path), j.Train.Microbatches, j.Train.Compute}
}

// opened is a device and how it is used.
type opened struct {
	kernels.Device
	Name string // cpu or cuda:N
	// Lanes is how many microbatches are computed at the same time: never more than
	// the work has, nor than there are processors, because each costs the memory of its
	// activations. Threads that have no lane of their own help the others.
	Lanes int
	Note  string // why a device that could be better is not used; else empty
}

// String says in words what computes.
func (o *opened) String() string {
	text := "on " + o.Name
	if gpu, ok := cuda.Describe(o.Device); ok {
		text += " (" + gpu.Name + ")"
	}
	text += ", " + o.Kind()
	if o.Note != "" {
		text += "; " + o.Note
	}
	return text
}

// openDevice opens what --device names.
func openDevice(choice api.DeviceChoice, threads int, w work, log *slog.Logger) (o *opened, err error) {
	o = &opened{}
	if choice.GPU >= 0 {
		o, err = openGPU(choice.GPU, w)
		switch {
		case err == nil:
			log.Info("device", "computes", o, "lanes", o.Lanes)
			return o, nil
		case !choice.Auto:
			return nil, api.Invalid(fmt.Errorf("--device %s: %w", choice, err))
		}
		o = &opened{Note: "no GPU is used: " + err.Error()}
	}
	if w.compute == api.ComputeBF16 {
		return nil, api.Invalid(fmt.Errorf("train.compute: found bf16, which needs a GPU: the processor computes in fp32%s", because(o.Note)))
	}
	o.Name = "cpu"
	lanes, inner := layOut(threads, w.weights, w.microbatches)
	o.Lanes = lanes
	if o.Device, err = cpu.Open(cpu.Options{Threads: inner}); err != nil {
		if !choice.Auto {
			return nil, fmt.Errorf("--device cpu: %w", err)
		}
		log.Warn("C kernels cannot be used; computing with the slow reference", "reason", err)
		o.Device = reference.Open()
	}
	log.Info("device", "computes", o, "lanes", lanes, "threads", inner)
	return o, nil
}

// openGPU opens a GPU that computes rightly.
func openGPU(number int, w work) (*opened, error) {
	options, tolerance := cuda.Options{Device: number}, 1e-4
	if w.compute == api.ComputeBF16 {
		options.Compute, tolerance = kernels.BF16, 5e-2 // 2⁻⁸ a factor, which sums mostly average out
	}
	d, err := cuda.Open(options)
	if err != nil {
		return nil, err
	}
	switch err := prove(context.Background(), d, tolerance); {
	case errors.Is(err, errHangs):
		return nil, fmt.Errorf("GPU %d: %w", number, err)
	case err != nil:
		return nil, errors.Join(fmt.Errorf("GPU %d: %w", number, err), d.Close())
	}
	lanes := 1
	if w.weights < smallModel {
		lanes = min(gpuLanes, w.microbatches)
	}
	return &opened{Device: d, Name: api.DeviceChoice{GPU: number}.String(), Lanes: max(1, lanes)}, nil
}

func because(note string) string {
	if note == "" {
		return ""
	}
	return ", and " + note
}

// layOut returns how many microbatches the processor computes at the same time, and
// the threads of a device that they share.
func layOut(threads int, weights int64, most int) (lanes, inner int) {
	if threads == 0 {
		threads = runtime.NumCPU()
	}
	lanes = 1
	if weights < smallModel {
		lanes = min(threads, runtime.NumCPU(), most)
	}
	return lanes, threads - lanes + 1
}

// use opens a device, has run work on it and closes it.
func use(device string, threads int, w work, log *slog.Logger, run func(*opened) error) error {
	choice, err := api.ParseDevice(device)
	if err != nil {
		return err
	}
	d, err := openDevice(choice, threads, w, log)
	if err != nil {
		return err
	}
	return errors.Join(run(d), d.Close())
}
