package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/trainer/job"
)

// Launch says how a job runs on this machine.
type Launch struct {
	Dir     string
	Device  string // auto or cpu
	Threads int    // 0: all processors
	Replace bool
	Emit    func(api.Event)
	Log     *slog.Logger
}

// Repair runs a job from its start.
func Repair(ctx context.Context, j api.Job, l Launch) (api.Result, error) {
	return l.on(j.Model.Path, j.Train.Microbatches, func(d kernels.Device, lanes int) (api.Result, error) {
		return job.Run(ctx, j, l.options(d, lanes))
	})
}

// Resume goes on with the run in l.Dir.
func Resume(ctx context.Context, l Launch) (api.Result, error) {
	j, err := job.Saved(l.Dir)
	if err != nil { // the run's folder is looked at again, and reports it
		j = api.Default()
	}
	return l.on(j.Model.Path, j.Train.Microbatches, func(d kernels.Device, lanes int) (api.Result, error) {
		return job.Resume(ctx, l.options(d, lanes))
	})
}

// Validate opens what a job names.
func Validate(ctx context.Context, j api.Job) error {
	l := Launch{Device: "auto", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Emit: func(api.Event) {}}
	_, err := l.on(j.Model.Path, 1, func(d kernels.Device, lanes int) (api.Result, error) {
		return api.Result{}, job.Validate(ctx, j, d)
	})
	return err
}

// Status reads the state of the run in a folder.
func Status(dir string) (api.Status, error) { return job.Status(dir, time.Now()) }

func (l Launch) options(d kernels.Device, lanes int) job.Options {
	return job.Options{Dir: l.Dir, Device: d, Lanes: lanes, Replace: l.Replace, Emit: l.Emit, Log: l.Log, Now: time.Now}
}

// on opens the device for a model of this size, for at most so many lanes, and
// closes it afterwards.
func (l Launch) on(model string, lanes int, run func(d kernels.Device, lanes int) (api.Result, error)) (api.Result, error) {
	d, lanes, err := openDevice(l.Device, l.Threads, weightBytes(model), lanes, l.Log)
	if err != nil {
		return api.Result{}, err
	}
	r, err := run(d, lanes)
	return r, errors.Join(err, d.Close())
}

// weightBytes returns the size of a folder's weights; 0 for the shipped model and
// for what cannot be read, which the job reports in its own words.
func weightBytes(dir string) int64 {
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return 0
	}
	var total int64
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			total += info.Size()
		}
	}
	return total
}
