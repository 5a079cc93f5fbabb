package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
)

// How long a verb tries while no coordinator answers: one that asks something,
// and one that follows a job through an election or the restart of a machine.
const (
	patienceOfACall = 5 * time.Second
	patienceOfAJob  = 2 * time.Minute
)

// remote is the setting that every verb of a cluster has.
type remote struct {
	List string // URLs, comma-separated; empty where none is set
}

func (r *remote) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.List, "coordinator", "", "URLs of coordinators, comma-separated; one that answers is enough")
}

// client returns one that calls the coordinators.
func (r *remote) client(patience time.Duration) (*client.Client, error) {
	if r.List == "" {
		return nil, api.Invalid(fmt.Errorf("--coordinator: missing, want http://HOST:PORT[,…], also as RESSA_COORDINATOR or in the configuration file"))
	}
	urls, err := client.ParseURLs(r.List)
	if err != nil {
		return nil, err
	}
	c := client.DefaultConfig(urls...)
	c.Patience, c.Logger = patience, slog.New(slog.DiscardHandler)
	return client.New(c)
}

// ask is a verb of the cluster that asks one thing and prints the answer.
func (a *App) ask(use, short string, args cobra.PositionalArgs, run func(ctx context.Context, c *client.Client, args []string, show printer) error) *cobra.Command {
	var r remote
	form := Table
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client(patienceOfACall)
			if err != nil {
				return err
			}
			defer c.Close()
			return run(cmd.Context(), c, args, printer{cmd.OutOrStdout(), form})
		},
	}
	r.register(cmd)
	registerForm(cmd, &form)
	return cmd
}
