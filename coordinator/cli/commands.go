package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/local"
)

// App is what the verbs share.
type App struct {
	Launcher Launcher
	// Start starts a cluster on this machine.
	Start       func(context.Context, local.Config) (Cluster, error)
	Environment Environment
	Version     string
}

// Commands returns the verbs of this package.
func (a *App) Commands() []*cobra.Command {
	return []*cobra.Command{
		a.initCommand(), a.validateCommand(), a.planCommand(), a.repairCommand(), a.resumeCommand(),
		a.statusCommand(), a.watchCommand(), a.logsCommand(), a.waitCommand(), a.cancelCommand(), a.explainCommand(), a.historyCommand(),
		a.traceCommand(), a.profileCommand(),
		a.nodesCommand(), a.nodeCommand(), a.coordinatorCommand(), a.operatorCommand(),
		a.versionCommand(),
	}
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
			if cmd.Context() != nil {
				cmd.SetContext(telemetry.Fresh().Unrecorded(cmd.Context()))
			}
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

func (a *App) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a job file and what it names; - reads standard input",
		Args:  Exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			job, _, err := readJob(cmd, args[0])
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
