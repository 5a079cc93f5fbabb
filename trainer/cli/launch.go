package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"ressa/coordinator/api"
	"ressa/trainer/job"
	"ressa/trainer/trace"
)

// Launch says how a job runs on this machine.
type Launch struct {
	Dir     string
	Device  string // see api.ParseDevice
	Threads int    // 0: all processors
	Replace bool
	Version string
	Emit    func(api.Event)
	Log     *slog.Logger
}

// Repair runs a job from its start.
func Repair(ctx context.Context, j api.Job, l Launch) (api.Result, error) {
	return l.on(workOf(j), func(d *opened) (api.Result, error) {
		return l.traced(ctx, j, func(t *trace.Recorder) (api.Result, error) { return job.Run(ctx, j, l.options(d, t)) })
	})
}

// Resume goes on with the run in l.Dir.
func Resume(ctx context.Context, l Launch) (api.Result, error) {
	j, err := job.Saved(l.Dir)
	if err != nil { // the run's folder is looked at again, and reports it
		j = api.Default()
	}
	return l.on(workOf(j), func(d *opened) (api.Result, error) {
		return l.traced(ctx, j, func(t *trace.Recorder) (api.Result, error) { return job.Resume(ctx, l.options(d, t)) })
	})
}

// Validate opens what a job names.
func Validate(ctx context.Context, j api.Job) error {
	l := Launch{Device: "auto", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Emit: func(api.Event) {}}
	w := workOf(j)
	w.compute = api.ComputeFP32 // a job may be sent to where there is a GPU
	_, err := l.on(w, func(d *opened) (api.Result, error) {
		return api.Result{}, job.Validate(ctx, j, d.Device)
	})
	return err
}

// Status reads the state of the run in a folder.
func Status(dir string) (api.Status, error) { return job.Status(dir, time.Now()) }

// Trace reads what the run in a folder kept of a step; 0 is its last.
func Trace(dir string, step int) (api.Trace, error) { return job.Trace(dir, step) }

func (l Launch) options(d *opened, t *trace.Recorder) job.Options {
	return job.Options{Dir: l.Dir, Device: d.Device, On: d.String(), Lanes: d.Lanes, Replace: l.Replace, Trace: t, Emit: l.Emit, Log: l.Log, Now: time.Now}
}

// on opens the device for what is to be done and closes it afterwards.
func (l Launch) on(w work, run func(*opened) (api.Result, error)) (r api.Result, err error) {
	err = use(l.Device, l.Threads, w, l.Log, func(d *opened) error {
		r, err = run(d)
		return err
	})
	return r, err
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
