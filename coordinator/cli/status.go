package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
)

// jobList is what `status` without a job prints: design §7's objects, newest first.
type jobList struct {
	Jobs []api.Status `json:"jobs"`
}

func (a *App) statusCommand() *cobra.Command {
	var r remote
	form := Table
	cmd := &cobra.Command{
		Use:   "status [JOB|DIR]",
		Short: "Show how far the jobs of a cluster are, or the run in a folder",
		Long: "Shows all jobs of a cluster, one of them, or the run in a folder. With a coordinator\n" +
			"set, an argument without a slash is a job; ./DIR is a folder always.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return api.Invalid(fmt.Errorf("%s: found %d arguments, want 1: [JOB|DIR]", cmd.CommandPath(), len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			show := printer{cmd.OutOrStdout(), form}
			if len(args) == 1 && (r.List == "" || folderNamed(args[0])) {
				s, err := a.Launcher.Status(args[0])
				if err != nil {
					return api.Invalid(err)
				}
				return show.print(s, func(w io.Writer) { progress(w, s) })
			}
			if r.List == "" {
				return api.Invalid(fmt.Errorf("ressa status: want the folder of a run, or --coordinator for the jobs of a cluster"))
			}
			c, err := r.client(patienceOfACall)
			if err != nil {
				return err
			}
			defer c.Close()
			if len(args) == 0 {
				return statusOfAll(cmd.Context(), c, show)
			}
			j, err := c.Job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show.print(j.Status, func(w io.Writer) { jobTable(w, j) })
		},
	}
	r.register(cmd)
	registerForm(cmd, &form)
	return a.completeFrom(cmd, jobNames(anyJob), true)
}

func statusOfAll(ctx context.Context, c *client.Client, show printer) error {
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return err
	}
	all := jobList{Jobs: make([]api.Status, len(jobs))}
	for i, j := range jobs {
		all.Jobs[i] = j.Status
	}
	return show.print(all, func(w io.Writer) {
		rows := make([]table.Row, len(jobs))
		for i, j := range jobs {
			s := j.Status
			rows[i] = table.Row{j.ID, j.Name, s.State, s.Phase, fmt.Sprintf("%d/%d", s.Step, s.Steps), len(j.Plan.Nodes), s.Generation, stamp(j.Submitted), because(j)}
		}
		grid(w, table.Row{"job", "name", "state", "phase", "step", "nodes", "generation", "submitted (UTC)", "reason"}, rows, 5, 6, 7)
	})
}

// progress writes what the run in a folder and a job of a cluster have in common.
func progress(w io.Writer, s api.Status) {
	fmt.Fprintf(w, "job    %s\nstate  %s\nphase  %s\nstep   %d of %d\n", s.Job, s.State, cmp.Or(s.Phase, "–"), s.Step, s.Steps)
	if s.Error != "" {
		fmt.Fprintf(w, "error  %s\n", s.Error)
	}
}

func jobTable(w io.Writer, j api.JobRecord) {
	s := j.Status
	progress(w, s)
	fmt.Fprintf(w, "name   %s, submitted %s UTC\n", j.Name, stamp(j.Submitted))
	if j.Reason != "" && j.Reason != s.Error {
		fmt.Fprintf(w, "reason %s\n", j.Reason)
	}
	if s.Stalled != "" {
		fmt.Fprintf(w, "stall  %s\n", s.Stalled)
	}
	fmt.Fprintf(w, "plan   generation %d, decided by %s\n", s.Generation, cmp.Or(s.Leader, "no leader"))
	if len(s.Ranks) == 0 {
		return
	}
	rows := make([]table.Row, len(s.Ranks))
	for i, r := range s.Ranks {
		rows[i] = table.Row{r.Node, r.PID, r.Role, r.Stage, r.Replica, r.Microbatches, fmt.Sprintf("%.1f s", r.BeatAge)}
	}
	grid(w, table.Row{"node", "pid", "role", "stage", "replica", "microbatches", "heard"}, rows, 2, 4, 5, 6, 7)
}

// stamp writes a time in UTC: nodes need not agree on a zone.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}
