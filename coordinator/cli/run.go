package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ressa/coordinator/api"
	"ressa/coordinator/api/backlog"
)

// RunFlags are the flags of the verbs that run a job on this machine.
type RunFlags struct {
	Dir     string
	Device  string
	Threads int
	Output  Output
	Verbose bool
}

// Register adds the flags to a command.
func (f *RunFlags) Register(cmd *cobra.Command) {
	f.registerDevice(cmd)
	f.registerView(cmd)
	cmd.Flags().BoolVarP(&f.Verbose, "verbose", "v", false, "log what the run does")
}

// registerDevice adds the flags that say what computes.
func (f *RunFlags) registerDevice(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.Device, "device", "auto", "what computes: auto (a GPU where one can be used), cpu, cuda or cuda:N")
	cmd.Flags().IntVar(&f.Threads, "threads", 0, "processor threads, of each node where it starts several; 0 uses all. Results do not depend on it")
	complete(cmd, "device", "auto", "cpu", "cuda")
}

// registerView adds the flag that says how a job is followed.
func (f *RunFlags) registerView(cmd *cobra.Command) {
	f.Output = Table
	cmd.Flags().VarP(&f.Output, "output-format", "o", "table or json (one object an event, the result last)")
	complete(cmd, "output-format", string(Table), string(JSON))
}

// view returns the view that follows a job.
func (f *RunFlags) view(cmd *cobra.Command) (View, error) {
	if f.Output == YAML {
		return nil, api.Invalid(fmt.Errorf("-o: found yaml, want table or json"))
	}
	diagnostics := cmd.ErrOrStderr()
	return NewView(f.Output, cmd.OutOrStdout(), diagnostics, isTerminal(diagnostics)), nil
}

// logger returns one for diagnostics.
func (f *RunFlags) logger(to io.Writer) *slog.Logger {
	level := slog.LevelWarn
	if f.Verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level}))
}

// Local returns the options of a launch and the view that follows it, which has to be
// closed. Neither the view nor the log holds the job up.
func (f *RunFlags) Local(cmd *cobra.Command) (LocalOptions, View, error) {
	view, err := f.view(cmd)
	if err != nil {
		return LocalOptions{}, nil, err
	}
	if err := api.CheckThreads(f.Threads); err != nil {
		return LocalOptions{}, nil, err
	}
	if _, err := api.ParseDevice(f.Device); err != nil {
		return LocalOptions{}, nil, err
	}
	log := backlog.NewWriter(cmd.ErrOrStderr())
	view = newBehindView(view, log)
	return LocalOptions{Dir: f.Dir, Device: f.Device, Threads: f.Threads, Emit: view.Event, Log: f.logger(log)}, view, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Follow runs a job under its view and words what to do after an interruption.
func Follow(cmd *cobra.Command, o LocalOptions, view View, run func(context.Context) (api.Result, error)) error {
	_, err := run(cmd.Context())
	view.Close(err)
	if api.ExitCode(err) == api.ExitCancelled {
		fmt.Fprintf(cmd.ErrOrStderr(), "interrupted; go on with: ressa resume %s\n", o.Dir)
	}
	return err
}
