package cli

import (
	"context"
	"log/slog"

	"ressa/coordinator/api"
)

// LocalOptions say how a job runs on this machine.
type LocalOptions struct {
	Dir     string // the run's folder
	Device  string // see api.ParseDevice
	Threads int    // 0: all processors
	Replace bool   // discard a run that Dir holds already
	Emit    func(api.Event)
	Log     *slog.Logger
}

// Launcher runs jobs on this machine. Package trainer/cli implements it.
type Launcher interface {
	// Repair runs a job from its start.
	Repair(ctx context.Context, job api.Job, o LocalOptions) (api.Result, error)
	// Resume goes on with the job that o.Dir holds.
	Resume(ctx context.Context, o LocalOptions) (api.Result, error)
	// Validate opens what a job names and reports the first thing that is wrong.
	Validate(ctx context.Context, job api.Job) error
	// Status reads the state of the run in a folder.
	Status(dir string) (api.Status, error)
	// Trace reads what the run in a folder kept of a step; 0 is its last.
	Trace(dir string, step int) (api.Trace, error)
}
