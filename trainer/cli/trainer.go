package cli

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/backlog"
	"ressa/coordinator/api/client"
	"ressa/trainer/agent"
	"ressa/trainer/trace"
)

// exchangeWait bounds one exchange between workers. It covers what a peer computes
// before it answers; peers that are lost end it much sooner, by the group's abort
// or by a newer generation.
const exchangeWait = 10 * time.Minute

// TrainerCommand returns the verb that runs a node of a cluster of a version.
func TrainerCommand(version string) *cobra.Command {
	var name, data, coordinators, device, listen string
	var threads int
	var orphan time.Duration
	cmd := &cobra.Command{
		Use:     "trainer",
		Short:   "Run a trainer: a node of a cluster that computes",
		Example: "  ressa trainer --name t1 --data t1 --coordinator http://127.0.0.1:7400",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := api.CheckThreads(threads); err != nil {
				return err
			}
			if orphan <= 0 {
				return api.Invalid(fmt.Errorf("--orphan-timeout: found %v, want a time above 0", orphan))
			}
			urls, err := client.ParseURLs(coordinators)
			if err != nil {
				return err
			}
			choice, err := api.ParseDevice(device)
			if err != nil {
				return err
			}
			c := agent.DefaultConfig()
			c.Name, c.Dir, c.Coordinators, c.Version, c.Threads, c.Listen, c.OrphanTimeout = name, data, urls, version, threads, listen, orphan
			out := backlog.NewWriter(cmd.ErrOrStderr()) // who does not read it does not hold the node up
			defer out.Close()
			c.Logger = slog.New(slog.NewTextHandler(out, nil))
			n := &node{device: choice, threads: threads, name: name, version: version, log: c.Logger, past: trace.Past{Keep: keptGenerations}}
			defer n.close()
			c.Work, c.Inspect, c.Trace, c.Profile = n.work, n.inspect, n.past.Read, n.profile
			if c.Listen == "" {
				if c.Listen, err = towards(urls[0]); err != nil {
					return err
				}
			}
			if c.Devices, c.GPUs, err = n.inventory(cmd.Context(), c.Logger); err != nil {
				return err
			}
			if err := watchGPUs(cmd.Context(), &c); err != nil {
				return err
			}
			return agent.Run(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "t1", "name of this node, unique in the cluster")
	f.StringVar(&data, "data", "ressa-trainer", "folder of its jobs")
	f.StringVar(&coordinators, "coordinator", "http://127.0.0.1:7400", "URLs of coordinators, separated by commas; one that answers is enough")
	f.StringVar(&device, "device", "auto", deviceUsage)
	f.IntVar(&threads, "threads", 0, "processor threads; 0 uses all. Results do not depend on it")
	f.DurationVar(&orphan, "orphan-timeout", agent.DefaultConfig().OrphanTimeout, "how long work goes on here while no coordinator answers")
	f.StringVar(&listen, "listen", "", "address at which peers dial this node; empty takes the one that faces the coordinators")
	return cmd
}

// towards returns the address of the interface from which a coordinator is reached.
func towards(coordinator string) (string, error) {
	u, err := url.Parse(coordinator)
	if err != nil {
		return "", api.Invalid(fmt.Errorf("--coordinator: %w", err))
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	c, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), port)) // sends nothing
	if err != nil {
		return "", api.Invalid(fmt.Errorf("--coordinator %s: %w", coordinator, err))
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	return host, err
}
