package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
)

func (a *App) repairCommand() *cobra.Command {
	var f RunFlags
	var p Placement
	var detach bool
	cmd := &cobra.Command{
		Use:   "repair FILE",
		Short: "Prune, repair, evaluate and export what a job file says; - reads standard input",
		Long: "Runs a job in this process, or on a cluster with --coordinator or --local. A job of\n" +
			"a cluster is followed until it ends, and then its output is downloaded; Ctrl-C\n" +
			"leaves it running. Paths in the file are those of the nodes.",
		Args: Exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.settle(cmd); err != nil {
				return err
			}
			if detach && p.List == "" {
				return api.Invalid(fmt.Errorf("--detach: want --coordinator: what runs on this machine ends with this command"))
			}
			job, spec, err := readJob(cmd, args[0])
			if err != nil {
				return err
			}
			if f.Dir == "" {
				f.Dir = filepath.Join("ressa-output", job.Name)
			}
			switch {
			case detach:
				return a.submit(cmd, &p, f.Output, spec)
			case p.Clustered():
				return a.repairOnCluster(cmd, &p, &f, spec, false)
			}
			return a.repairHere(cmd, &f, job, false)
		},
	}
	f.Register(cmd)
	p.register(cmd)
	cmd.Flags().StringVar(&f.Dir, "output", "", "folder of the run (default ressa-output/NAME)")
	cmd.Flags().BoolVar(&detach, "detach", false, "submit the job and leave it to the cluster")
	return cmd
}

// RepairDemo runs a job that was made rather than read: in this process, or on a
// cluster of this machine. An earlier run in the folder is discarded.
func (a *App) RepairDemo(cmd *cobra.Command, p *Placement, f *RunFlags, job api.Job) error {
	if err := p.settle(cmd); err != nil {
		return err
	}
	if !p.Clustered() {
		return a.repairHere(cmd, f, job, true)
	}
	spec, err := yaml.Marshal(job)
	if err != nil {
		return err
	}
	return a.repairOnCluster(cmd, p, f, string(spec), true)
}

// repairHere runs a job in this process.
func (a *App) repairHere(cmd *cobra.Command, f *RunFlags, job api.Job, replace bool) error {
	o, view, err := f.Local(cmd)
	if err != nil {
		return err
	}
	o.Replace = replace
	return Follow(cmd, o, view, func(ctx context.Context) (api.Result, error) { return a.Launcher.Repair(ctx, job, o) })
}

// repairOnCluster submits a job, follows it and fetches what it wrote.
func (a *App) repairOnCluster(cmd *cobra.Command, p *Placement, f *RunFlags, spec string, replace bool) error {
	view, err := f.view(cmd)
	if err != nil {
		return err
	}
	folder, err := claim(f.Dir, replace)
	if err != nil {
		return err
	}
	defer folder.release()
	return a.onCluster(cmd, p, f, filepath.Dir(f.Dir), patienceOfAJob, func(ctx context.Context, c *client.Client) (err error) {
		began := time.Now()
		if p.Local > 0 {
			if err := offered(ctx, c, spec); err != nil {
				return err
			}
		}
		j, err := submit(ctx, c, p.request(spec))
		if err != nil {
			return err
		}
		ctx, end := a.follows(ctx, j.ID, spec, began, f.logger(cmd.ErrOrStderr()))
		defer func() { end(err) }()
		to := &following{client: c, view: view, job: j, folder: folder}
		if p.List != "" {
			to.back = comeBack(j.ID, p.List, f.Dir)
		}
		return to.run(ctx)
	})
}

// offered refuses a job that no node of a cluster of this machine can compute: none will
// join it.
func offered(ctx context.Context, c *client.Client, spec string) error {
	j, err := api.ParseJob("job", strings.NewReader(spec))
	if err != nil || j.Train.Compute == api.ComputeFP32 {
		return nil // what is wrong with it is said when it is submitted
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	note := ""
	for _, n := range nodes {
		for _, d := range n.Devices {
			if d.Compute == j.Train.Compute {
				return nil
			}
			if d.Note != "" {
				note = "; " + d.Note
			}
		}
	}
	return api.Invalid(fmt.Errorf("train.compute: found %s, in which no node of this machine computes%s", j.Train.Compute, note))
}

// submit hands in a job, which a cluster that does not answer is not waited for as
// long as one that follows it.
func submit(ctx context.Context, c *client.Client, r api.JobRequest) (api.JobRecord, error) {
	short, cancel := context.WithTimeout(ctx, 2*patienceOfACall)
	defer cancel()
	return c.Submit(short, r)
}

// submit hands in a job and leaves it to the cluster.
func (a *App) submit(cmd *cobra.Command, p *Placement, form Output, spec string) error {
	c, err := p.client(patienceOfACall)
	if err != nil {
		return err
	}
	defer c.Close()
	j, err := c.Submit(cmd.Context(), p.request(spec))
	if err != nil {
		return err
	}
	return detached(cmd, form, j, p.List)
}

// detached says how to come back to a job that is not followed. Its identifier
// alone goes to standard output, for scripts.
func detached(cmd *cobra.Command, form Output, j api.JobRecord, coordinators string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "job %s (%s) is %s; follow it with: %s\n", j.ID, j.Name, j.Status.State, comeBack(j.ID, coordinators, ""))
	if form == Table {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), j.ID)
		return err
	}
	return printer{cmd.OutOrStdout(), form}.print(j.Status, nil)
}

// comeBack is the command line that follows a job again.
func comeBack(id, coordinators, dir string) string {
	line := fmt.Sprintf("ressa watch %s --coordinator %s", id, coordinators)
	if dir != "" {
		line += " --output " + dir
	}
	return line
}

// folderNamed reports whether an argument that may be a job's identifier is a
// folder's path instead.
func folderNamed(arg string) bool {
	return arg == "." || arg == ".." || filepath.Base(arg) != arg || os.IsPathSeparator(arg[len(arg)-1])
}
