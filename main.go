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
	app := &cli.App{Launcher: local{}, Environment: cli.ProcessEnvironment(), Version: version()}
	var flags cli.RunFlags
	demo := compute.DemoCommand(flags.Register, func(cmd *cobra.Command, j api.Job, dir string, replace bool) error {
		flags.Dir = dir
		o, view, err := flags.Local(cmd)
		if err != nil {
			return err
		}
		o.Replace = replace
		return cli.Follow(cmd, o, view, func(ctx context.Context) (api.Result, error) { return local{}.Repair(ctx, j, o) })
	})
	return app.Root(append(app.Commands(), demo, compute.PruneCommand(), compute.EvalCommand(), compute.ExportCommand(), compute.BenchCommand())...)
}

// local runs jobs in this process: the launcher between the two packages of verbs.
type local struct{}

func launch(o cli.LocalOptions) compute.Launch {
	return compute.Launch{Dir: o.Dir, Device: o.Device, Threads: o.Threads, Replace: o.Replace, Emit: o.Emit, Log: o.Log}
}

func (local) Repair(ctx context.Context, j api.Job, o cli.LocalOptions) (api.Result, error) {
	return compute.Repair(ctx, j, launch(o))
}

func (local) Resume(ctx context.Context, o cli.LocalOptions) (api.Result, error) {
	return compute.Resume(ctx, launch(o))
}

func (local) Validate(ctx context.Context, j api.Job) error { return compute.Validate(ctx, j) }

func (local) Status(dir string) (api.Status, error) { return compute.Status(dir) }

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
