package job

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"ressa/coordinator/api"
	"ressa/kernels"
)

// Validate opens what a job names, as the first phase of its run does, and leaves
// nothing behind.
func Validate(ctx context.Context, j api.Job, d kernels.Device) error {
	dir, err := os.MkdirTemp("", "ressa-validate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f, err := claim(dir)
	if err != nil {
		return err
	}
	defer f.release()
	r := &run{Options: Options{Dir: dir, Device: d, Lanes: 1, Emit: func(api.Event) {}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now},
		job: j, folder: f, state: &state{Scores: map[string]*api.Score{}}}
	r.started = r.Now()
	defer r.close()
	return r.prepare(ctx)
}
