package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
)

// completing bounds how long a shell waits for names.
const completing = 2 * time.Second

// complete offers the values of a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// The only error is of a flag that does not exist, which a test would find.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// names is what a verb takes as its argument.
type names func(ctx context.Context, c *client.Client) ([]string, error)

// completeFrom offers names that the cluster knows, for the first argument; files
// too, where the verb takes a folder. A cluster that does not answer offers none.
func (a *App) completeFrom(cmd *cobra.Command, of names, files bool) *cobra.Command {
	directive := cobra.ShellCompDirectiveNoFileComp
	if files {
		directive = cobra.ShellCompDirectiveFilterDirs
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || a.Environment.Settle(cmd) != nil { // a shell completes before a verb's settings are read
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := (&remote{List: cmd.Flag("coordinator").Value.String()}).client(0)
		if err != nil {
			return nil, directive
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completing)
		defer cancel()
		found, err := of(ctx, c)
		if err != nil || len(found) == 0 {
			return nil, directive
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// jobNames are the jobs for which keep holds, with what a shell shows beside them.
func jobNames(keep func(api.JobRecord) bool) names {
	return func(ctx context.Context, c *client.Client) ([]string, error) {
		jobs, err := c.Jobs(ctx)
		var out []string
		for _, j := range jobs {
			if keep(j) {
				out = append(out, j.ID+"\t"+j.Name+", "+j.Status.State)
			}
		}
		return out, err
	}
}

func anyJob(api.JobRecord) bool     { return true }
func openJobs(j api.JobRecord) bool { return !over(j) }

// again reports whether a job can be resumed.
func again(j api.JobRecord) bool {
	return j.Status.State == api.Failed || j.Status.State == api.Cancelled
}

func nodeNames(ctx context.Context, c *client.Client) ([]string, error) {
	nodes, err := c.Nodes(ctx)
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name+"\t"+n.State)
	}
	return out, err
}
