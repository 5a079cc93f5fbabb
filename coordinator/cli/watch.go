package cli

import (
	"context"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
)

// followFlags are those of the verbs that follow a job that is there already.
type followFlags struct {
	remote
	form Output
	dir  string
}

func (f *followFlags) registerFollow(cmd *cobra.Command) {
	f.form = Table
	f.remote.register(cmd)
	cmd.Flags().StringVar(&f.dir, "output", "", "folder for the job's output when it has succeeded; without it nothing is downloaded")
}

// follow follows the job that start returns.
func (f *followFlags) follow(cmd *cobra.Command, form Output, start func(context.Context, *client.Client) (api.JobRecord, error)) error {
	view, err := (&RunFlags{Output: form}).view(cmd)
	if err != nil {
		return err
	}
	c, err := f.client(patienceOfAJob)
	if err != nil {
		return err
	}
	defer c.Close()
	to := &following{client: c, view: view}
	if f.dir != "" {
		if to.folder, err = claim(f.dir, false); err != nil {
			return err
		}
		defer to.folder.release()
	}
	if to.job, err = start(cmd.Context(), c); err != nil {
		return err
	}
	to.back = comeBack(to.job.ID, f.List, f.dir)
	return to.run(cmd.Context())
}

func (a *App) watchCommand() *cobra.Command {
	var f followFlags
	cmd := &cobra.Command{
		Use:   "watch JOB",
		Short: "Follow a job from its first event to its end; Ctrl-C leaves it running",
		Args:  Exactly("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.follow(cmd, f.form, func(ctx context.Context, c *client.Client) (api.JobRecord, error) { return find(ctx, c, args[0]) })
		},
	}
	f.registerFollow(cmd)
	cmd.Flags().VarP(&f.form, "output-format", "o", "table or json (one object an event, the result last)")
	complete(cmd, "output-format", string(Table), string(JSON))
	return a.completeFrom(cmd, jobNames(openJobs), false)
}

func (a *App) resumeCommand() *cobra.Command {
	var f RunFlags
	var r followFlags
	var detach bool
	cmd := &cobra.Command{
		Use:   "resume JOB|DIR",
		Short: "Go on with a failed or cancelled job, or the interrupted run in a folder, from its last checkpoint",
		Long: "Goes on with a job of a cluster, or with the run in a folder, to the same bits. A cluster\n" +
			"that was down goes on with its jobs by itself: of one that waits or runs this follows the\n" +
			"rest. With a coordinator set, an argument without a slash is a job; ./DIR is a folder always.",
		Args: Exactly("JOB|DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.List != "" && !folderNamed(args[0]) {
				if detach {
					return r.resumeDetached(cmd, f.Output, args[0])
				}
				return r.follow(cmd, f.Output, func(ctx context.Context, c *client.Client) (api.JobRecord, error) { return c.Resume(ctx, args[0]) })
			}
			f.Dir = args[0]
			o, view, err := f.Local(cmd)
			if err != nil {
				return err
			}
			return Follow(cmd, o, view, func(ctx context.Context) (api.Result, error) { return a.Launcher.Resume(ctx, o) })
		},
	}
	f.Register(cmd)
	r.registerFollow(cmd)
	cmd.Flags().BoolVar(&detach, "detach", false, "leave the job to the cluster")
	return a.completeFrom(cmd, jobNames(again), true)
}

// resumeDetached resumes a job without following it.
func (f *followFlags) resumeDetached(cmd *cobra.Command, form Output, id string) error {
	c, err := f.client(patienceOfACall)
	if err != nil {
		return err
	}
	defer c.Close()
	j, err := c.Resume(cmd.Context(), id)
	if err != nil {
		return err
	}
	return detached(cmd, form, j, f.List)
}
