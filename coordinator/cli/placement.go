package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/coordinator/local"
)

// Cluster is one that was started on this machine.
type Cluster interface {
	// URLs are those of its coordinators.
	URLs() []string
	// Ended says which of its processes ended by itself; nil while all run.
	Ended() error
	// Close ends it and removes what it wrote.
	Close() error
}

// Placement are the flags that say on which cluster a job runs, and on how much of
// it. Without any, it runs in this process.
type Placement struct {
	remote
	Local        int // trainers to start on this machine; 0 starts none
	Coordinators int // beside them
	// What is asked of the planner; 0 leaves it the choice.
	Nodes, VisionReplicas, LanguageReplicas int

	flag string // that sets Local
}

// register adds the flags of a verb that takes a job file.
func (p *Placement) register(cmd *cobra.Command) {
	p.flag = "local"
	p.remote.register(cmd)
	cmd.Flags().IntVar(&p.Local, p.flag, 0, "run on so many trainer processes on this machine, started for this and ended with it")
	cmd.Flags().IntVar(&p.Nodes, "nodes", 0, "nodes to use; 0 leaves it to the planner, or is all of --local")
	p.registerReplicas(cmd)
}

// RegisterDemo adds the flags of the demo, whose nodes are always of this machine.
func (p *Placement) RegisterDemo(cmd *cobra.Command) {
	p.flag = "nodes"
	cmd.Flags().IntVar(&p.Local, p.flag, 0, "run on so many trainer processes on this machine; 0 runs in this process")
	p.registerReplicas(cmd)
}

func (p *Placement) registerReplicas(cmd *cobra.Command) {
	cmd.Flags().IntVar(&p.Coordinators, "coordinators", 0, fmt.Sprintf("coordinator processes beside the trainers of --%s: 1, 3 or 5", p.flag))
	cmd.Flags().IntVar(&p.VisionReplicas, "vision-replicas", 0, "workers that hold the vision tower; 0 leaves it to the planner")
	cmd.Flags().IntVar(&p.LanguageReplicas, "language-replicas", 0, "workers that hold the language tower; 0 leaves it to the planner")
}

// settle checks the flags together. Of --coordinator and --local the one counts
// that is said more specifically: on the command line before a variable before
// the configuration file.
func (p *Placement) settle(cmd *cobra.Command) error {
	for _, n := range []struct {
		flag  string
		value int
	}{{p.flag, p.Local}, {"coordinators", p.Coordinators}, {"nodes", p.Nodes}, {"vision-replicas", p.VisionReplicas}, {"language-replicas", p.LanguageReplicas}} {
		if n.value < 0 {
			return api.Invalid(fmt.Errorf("--%s: found %d, want 0 or more", n.flag, n.value))
		}
	}
	if p.flag == "nodes" && p.Local == 0 && p.Coordinators > 0 {
		p.Local = 1
	}
	if p.List != "" && p.Local > 0 {
		switch here, there := origin(cmd, p.flag), origin(cmd, "coordinator"); {
		case here == there:
			return api.Invalid(fmt.Errorf("--coordinator, --local: found both, want one"))
		case here < there:
			p.List = ""
		default:
			p.Local = 0
		}
	}
	if p.Clustered() {
		if p.Local == 0 && origin(cmd, "coordinators") == onCommandLine {
			return api.Invalid(fmt.Errorf("--coordinators: found %d, want none without --%s", p.Coordinators, p.flag))
		}
		return nil
	}
	for _, flag := range []string{"coordinators", "nodes", "vision-replicas", "language-replicas"} {
		if flag != p.flag && origin(cmd, flag) == onCommandLine {
			return api.Invalid(fmt.Errorf("--%s: want a cluster, by %s", flag, p.means()))
		}
	}
	return nil
}

// means words how a cluster is asked for.
func (p *Placement) means() string {
	if p.flag == "nodes" {
		return "--nodes"
	}
	return "--coordinator or --local"
}

// Clustered reports whether a job runs on a cluster.
func (p *Placement) Clustered() bool { return p.List != "" || p.Local > 0 }

// request is what is asked of the cluster for a job file's text. A cluster of
// this machine is used whole: it was started for the job.
func (p *Placement) request(spec string) api.JobRequest {
	r := api.JobRequest{Spec: spec, Nodes: p.Nodes, VisionReplicas: p.VisionReplicas, LanguageReplicas: p.LanguageReplicas}
	if r.Nodes == 0 {
		r.Nodes = p.Local
	}
	return r
}

// onCluster runs what needs a cluster, starting one where that is asked for in a
// directory below dir.
func (a *App) onCluster(cmd *cobra.Command, p *Placement, f *RunFlags, dir string, patience time.Duration, run func(context.Context, *client.Client) error) error {
	if p.Local == 0 {
		c, err := p.client(patience)
		if err != nil {
			return err
		}
		defer c.Close()
		return run(cmd.Context(), c)
	}
	if err := api.CheckThreads(f.Threads); err != nil {
		return err
	}
	if _, err := api.ParseDevice(f.Device); err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program to start it again: %w", err)
	}
	config := local.DefaultConfig(binary, p.Local, f.logger(cmd.ErrOrStderr()))
	config.Dir, config.Device, config.Threads = dir, f.Device, f.Threads
	if p.Coordinators > 0 {
		config.Coordinators = p.Coordinators
	}
	cluster, err := a.Start(cmd.Context(), config)
	if err != nil {
		return err
	}
	err = a.onStarted(cmd, cluster, run)
	if dead := cluster.Ended(); err != nil && dead != nil && cmd.Context().Err() == nil {
		err = errors.Join(err, dead)
	}
	return errors.Join(err, cluster.Close())
}

// onStarted runs what needs a cluster on one that is there. Its coordinators are
// near: one that does not answer soon is gone.
func (a *App) onStarted(cmd *cobra.Command, cluster Cluster, run func(context.Context, *client.Client) error) error {
	config := client.DefaultConfig(cluster.URLs()...)
	config.Patience, config.Logger = 20*time.Second, slog.New(slog.DiscardHandler)
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer c.Close()
	return run(cmd.Context(), c)
}
