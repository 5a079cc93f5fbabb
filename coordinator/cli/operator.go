package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
)

func (a *App) operatorCommand() *cobra.Command {
	help := func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	raft := &cobra.Command{Use: "raft", Short: "List the coordinators, or take one out for good", Args: Exactly(), RunE: help}
	raft.AddCommand(a.membersCommand(), a.removeCommand())
	cmd := &cobra.Command{Use: "operator", Short: "Look after the coordinators themselves", Args: Exactly(), RunE: help}
	cmd.AddCommand(raft, a.snapshotCommand())
	return cmd
}

func (a *App) membersCommand() *cobra.Command {
	return a.ask("list", "List the coordinators of the cluster", Exactly(),
		func(ctx context.Context, c *client.Client, _ []string, show printer) error {
			members, err := c.Cluster(ctx)
			if err != nil {
				return err
			}
			return show.print(members, func(w io.Writer) { memberTable(w, members) })
		})
}

func (a *App) removeCommand() *cobra.Command {
	cmd := a.ask("remove ID", "Take a coordinator out of the cluster; it may be away. The others count their majority without it", Exactly("ID"),
		func(ctx context.Context, c *client.Client, args []string, show printer) error {
			members, err := c.Leave(ctx, args[0])
			if client.NotFound(err) {
				// One that was taken out by halves is not listed, and is taken out.
				var known []string
				if before, err := c.Cluster(ctx); err == nil {
					for _, m := range before.Members {
						known = append(known, m.ID)
					}
				}
				return api.Invalid(fmt.Errorf("no coordinator %q, want one of %v", args[0], known))
			}
			if err != nil {
				return err
			}
			return show.print(members, func(w io.Writer) { memberTable(w, members) })
		})
	return a.completeFrom(cmd, memberNames, false)
}

// memberNames are the identifiers of the coordinators.
func memberNames(ctx context.Context, c *client.Client) ([]string, error) {
	members, err := c.Cluster(ctx)
	var out []string
	for _, m := range members.Members {
		out = append(out, m.ID+"\t"+m.Addr)
	}
	return out, err
}

func memberTable(w io.Writer, c api.Cluster) {
	rows := make([]table.Row, len(c.Members))
	for i, m := range c.Members {
		role := "follower"
		switch {
		case m.Leader:
			role = "leader"
		case !m.Alive:
			role = "away"
		}
		rows[i] = table.Row{m.ID, m.Addr, role, m.Version}
	}
	grid(w, table.Row{"coordinator", "address", "state", "version"}, rows)
	if c.Leader == "" {
		fmt.Fprintln(w, "no leader at the moment")
	}
}
