// Command ressa repairs pruned vision-language models: it prunes, fine-tunes with
// SparseLoRA and cross-modality distillation, and exports a checkpoint that is
// exactly as sparse as the pruned one. This file only wires the verbs that
// coordinate (package coordinator/cli) to those that compute (trainer/cli).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/cli"
	"ressa/coordinator/local"
	compute "ressa/trainer/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the work in good order, a second one the process.
	context.AfterFunc(ctx, stop)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ressa:", err)
	}
	os.Exit(api.ExitCode(err))
}

// root returns the command with all verbs.
func root() *cobra.Command {
	app := &cli.App{Launcher: process{}, Start: start, Environment: cli.ProcessEnvironment(), Version: version()}
	var flags cli.RunFlags
	var place cli.Placement
	register := func(cmd *cobra.Command) {
		flags.Register(cmd)
		place.RegisterDemo(cmd)
	}
	demo := compute.DemoCommand(register, func(cmd *cobra.Command, j api.Job, dir string) error {
		flags.Dir = dir
		return app.RepairDemo(cmd, &place, &flags, j)
	})
	return app.Root(append(app.Commands(), demo, compute.PruneCommand(), compute.EvalCommand(), compute.ExportCommand(), compute.BenchCommand(), compute.TrainerCommand(version()))...)
}

// start starts a cluster on this machine.
func start(ctx context.Context, c local.Config) (cli.Cluster, error) {
	l, err := local.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// process runs jobs in this process: the launcher between the two packages of verbs.
type process struct{}

func launch(o cli.LocalOptions) compute.Launch {
	return compute.Launch{Dir: o.Dir, Device: o.Device, Threads: o.Threads, Replace: o.Replace, Version: version(), Emit: o.Emit, Log: o.Log}
}

func (process) Repair(ctx context.Context, j api.Job, o cli.LocalOptions) (api.Result, error) {
	return compute.Repair(ctx, j, launch(o))
}

func (process) Resume(ctx context.Context, o cli.LocalOptions) (api.Result, error) {
	return compute.Resume(ctx, launch(o))
}

func (process) Validate(ctx context.Context, j api.Job) error { return compute.Validate(ctx, j) }

func (process) Status(dir string) (api.Status, error) { return compute.Status(dir) }

func (process) Trace(dir string, step int) (api.Trace, error) { return compute.Trace(dir, step) }

// version is the module's version and the commit it was built from, where the
// build recorded them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return v + " " + info.GoVersion
}
