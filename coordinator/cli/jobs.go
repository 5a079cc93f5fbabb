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

func (a *App) cancelCommand() *cobra.Command {
	cmd := a.ask("cancel JOB", "Stop a job; what it has published so far is kept", Exactly("JOB"),
		func(ctx context.Context, c *client.Client, args []string, show printer) error {
			j, err := c.Cancel(ctx, args[0])
			if err != nil {
				return err
			}
			return show.print(j.Status, func(w io.Writer) { fmt.Fprintf(w, "job %s is %s\n", j.ID, j.Status.State) })
		})
	return a.completeFrom(cmd, jobNames(openJobs), false)
}

func (a *App) explainCommand() *cobra.Command {
	cmd := a.ask("explain JOB", "Say why a job is in its state and placed as it is, first cause first", Exactly("JOB"),
		func(ctx context.Context, c *client.Client, args []string, show printer) error {
			why, err := c.Explain(ctx, args[0])
			if err != nil {
				return err
			}
			return show.print(why, func(w io.Writer) {
				for _, l := range why.Lines {
					fmt.Fprintln(w, l)
				}
			})
		})
	return a.completeFrom(cmd, jobNames(anyJob), false)
}

func (a *App) historyCommand() *cobra.Command {
	cmd := a.ask("history JOB", "List the decisions about a job with their reasons, oldest first", Exactly("JOB"),
		func(ctx context.Context, c *client.Client, args []string, show printer) error {
			past, err := c.History(ctx, args[0])
			if err != nil {
				return err
			}
			return show.print(past, func(w io.Writer) {
				rows := make([]table.Row, len(past.Decisions))
				for i, d := range past.Decisions {
					rows[i] = table.Row{d.Index, stamp(d.At), d.Action, d.Node, d.Reason}
				}
				grid(w, table.Row{"index", "at (UTC)", "action", "node", "reason"}, rows, 1)
				changeTable(w, past.Changes)
			})
		})
	return a.completeFrom(cmd, jobNames(anyJob), false)
}

// changeTable shows what changes of generation cost.
func changeTable(w io.Writer, changes []api.Change) {
	if len(changes) == 0 {
		return
	}
	rows := make([]table.Row, len(changes))
	for i, c := range changes {
		from, pause := "–", "–"
		switch c.From {
		case api.FromMemory, api.FromStart:
			from = fmt.Sprintf("%s, step %d", c.From, c.Step)
		case api.FromCheckpoint:
			from = fmt.Sprintf("%s on %s, step %d", c.From, c.Holder, c.Step)
		}
		if c.Pause > 0 {
			pause = fmt.Sprintf("%.1f", c.Pause)
		}
		rows[i] = table.Row{c.Generation, c.Cause, c.Node, from, pause, c.StepsLost}
	}
	grid(w, table.Row{"generation", "cause", "node", "went on from", "pause (s)", "steps lost"}, rows, 1, 5, 6)
}

func (a *App) waitCommand() *cobra.Command {
	var r remote
	form := Table
	cmd := &cobra.Command{
		Use:   "wait JOB",
		Short: "Wait until a job has ended; the exit code is the job's",
		Args:  Exactly("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client(patienceOfAJob)
			if err != nil {
				return err
			}
			defer c.Close()
			j, err := await(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			show := printer{cmd.OutOrStdout(), form}
			if err := show.print(j.Status, func(w io.Writer) { fmt.Fprintf(w, "job %s %s\n", j.ID, j.Status.State) }); err != nil {
				return err
			}
			return outcome(j)
		},
	}
	r.register(cmd)
	registerForm(cmd, &form)
	return a.completeFrom(cmd, jobNames(openJobs), false)
}

// await returns a job when it has ended. Its events are not looked at, but their
// stream tells at once.
func await(ctx context.Context, c *client.Client, id string) (api.JobRecord, error) {
	j, err := find(ctx, c, id)
	if err != nil || over(j) {
		return j, err
	}
	return c.Events(ctx, j.ID, func(api.LogLine) error { return nil })
}

// find returns the job whose identifier begins with id. A cluster that does not
// answer at first is not waited for as long as one that a job is followed on.
func find(ctx context.Context, c *client.Client, id string) (api.JobRecord, error) {
	short, cancel := context.WithTimeout(ctx, patienceOfACall)
	defer cancel()
	return c.Job(short, id)
}
