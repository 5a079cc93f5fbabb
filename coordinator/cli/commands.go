package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ressa/coordinator/api"
)

// App is what the verbs share.
type App struct {
	Launcher    Launcher
	Environment Environment
	Version     string
}

// Commands returns the verbs of this package.
func (a *App) Commands() []*cobra.Command {
	return []*cobra.Command{a.initCommand(), a.validateCommand(), a.repairCommand(), a.resumeCommand(), a.statusCommand(), a.versionCommand()}
}

// Root returns the root command with the given verbs below it. Its errors come
// back from Execute unprinted.
func (a *App) Root(verbs ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "ressa",
		Short: "Repair pruned vision-language models without losing their sparsity",
		Long: "Ressa prunes a vision-language model, wins back its accuracy with SparseLoRA and\n" +
			"cross-modality distillation from the dense original, and writes a checkpoint that\n" +
			"is exactly as sparse as the pruned one.",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.Environment.Settle(cmd)
		},
	}
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := "see ressa --help"
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("did you mean %q?", near[0])
		}
		return api.Invalid(fmt.Errorf("unknown command %q, %s", args[0], hint))
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return api.Invalid(flagValue(err)) })
	root.AddCommand(verbs...)
	return root
}

// Exactly accepts n arguments, which are named in the error.
func Exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return api.Invalid(fmt.Errorf("%s: found %d arguments, want %d: %v", cmd.CommandPath(), len(args), len(names), names))
		}
		return nil
	}
}

func (a *App) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Print a complete, commented job file that works as it stands",
		Args:  Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), api.DemoJob())
			return err
		},
	}
}

// readJob reads a job file, or standard input for "-". A relative path in the
// file means relative to the working directory. It does not wait for a pipe or a
// terminal longer than its context lasts.
func readJob(cmd *cobra.Command, path string) (api.Job, error) {
	type read struct {
		job api.Job
		err error
	}
	done := make(chan read, 1)
	go func() { // ends with the process where nothing more is ever written
		j, err := openJob(cmd, path)
		done <- read{j, err}
	}()
	select {
	case r := <-done:
		return r.job, r.err
	case <-cmd.Context().Done():
		return api.Job{}, cmd.Context().Err()
	}
}

func openJob(cmd *cobra.Command, path string) (api.Job, error) {
	if path == "-" {
		return api.ParseJob("standard input", cmd.InOrStdin())
	}
	f, err := os.Open(path)
	if err != nil {
		return api.Job{}, api.Invalid(fmt.Errorf("read job file: %w", err))
	}
	defer f.Close()
	return api.ParseJob(path, f)
}

func (a *App) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a job file and what it names; - reads standard input",
		Args:  Exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			job, err := readJob(cmd, args[0])
			if err != nil {
				return err
			}
			if err := a.Launcher.Validate(cmd.Context(), job); err != nil {
				return api.Invalid(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: valid, job %s\n", args[0], job.Name)
			return nil
		},
	}
}

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
	f.Output = Table
	cmd.Flags().StringVar(&f.Device, "device", "auto", "what computes: auto or cpu")
	cmd.Flags().IntVar(&f.Threads, "threads", 0, "processor threads; 0 uses all. Results do not depend on it")
	cmd.Flags().VarP(&f.Output, "output-format", "o", "table or json (one object an event, the result last)")
	cmd.Flags().BoolVarP(&f.Verbose, "verbose", "v", false, "log what the run does")
}

// Local returns the options of a launch and the view that follows it.
func (f *RunFlags) Local(cmd *cobra.Command) (LocalOptions, View, error) {
	if f.Output == YAML {
		return LocalOptions{}, nil, api.Invalid(fmt.Errorf("-o: found yaml, want table or json"))
	}
	if err := api.CheckThreads(f.Threads); err != nil {
		return LocalOptions{}, nil, err
	}
	level := slog.LevelWarn
	if f.Verbose {
		level = slog.LevelDebug
	}
	diagnostics := cmd.ErrOrStderr()
	view := NewView(f.Output, cmd.OutOrStdout(), diagnostics, isTerminal(diagnostics))
	log := slog.New(slog.NewTextHandler(diagnostics, &slog.HandlerOptions{Level: level}))
	return LocalOptions{Dir: f.Dir, Device: f.Device, Threads: f.Threads, Emit: view.Event, Log: log}, view, nil
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

func (a *App) repairCommand() *cobra.Command {
	var f RunFlags
	cmd := &cobra.Command{
		Use:   "repair FILE",
		Short: "Prune, repair, evaluate and export what a job file says; - reads standard input",
		Args:  Exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			job, err := readJob(cmd, args[0])
			if err != nil {
				return err
			}
			if f.Dir == "" {
				f.Dir = filepath.Join("ressa-output", job.Name)
			}
			o, view, err := f.Local(cmd)
			if err != nil {
				return err
			}
			return Follow(cmd, o, view, func(ctx context.Context) (api.Result, error) { return a.Launcher.Repair(ctx, job, o) })
		},
	}
	f.Register(cmd)
	cmd.Flags().StringVar(&f.Dir, "output", "", "folder of the run (default ressa-output/NAME)")
	return cmd
}

func (a *App) resumeCommand() *cobra.Command {
	var f RunFlags
	cmd := &cobra.Command{
		Use:   "resume DIR",
		Short: "Go on with an interrupted run from its last checkpoint, to the same bits",
		Args:  Exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Dir = args[0]
			o, view, err := f.Local(cmd)
			if err != nil {
				return err
			}
			return Follow(cmd, o, view, func(ctx context.Context) (api.Result, error) { return a.Launcher.Resume(ctx, o) })
		},
	}
	f.Register(cmd)
	return cmd
}

func (a *App) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "ressa", a.Version)
			return err
		},
	}
}
