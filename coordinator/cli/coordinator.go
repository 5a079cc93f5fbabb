package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ressa/coordinator/api/client"
	"ressa/coordinator/cluster"
	"ressa/coordinator/dashboard"
	"ressa/coordinator/joblog"
	"ressa/coordinator/server"
	"ressa/coordinator/spans"
)

// stopWait bounds a clean stop.
const stopWait = 10 * time.Second

func (a *App) coordinatorCommand() *cobra.Command {
	var id, data, addr, join, nats, jaeger string
	var lease, stall time.Duration
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Run a coordinator: one member of what decides in a cluster",
		Example: "  ressa coordinator --id c1 --data c1 --addr 127.0.0.1:7400\n" +
			"  ressa coordinator --id c2 --data c2 --addr 127.0.0.1:7401 --join http://127.0.0.1:7400",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := cluster.DefaultConfig(lease)
			c.Schedule = c.Schedule.WithStallLimit(stall)
			c.ID, c.Dir, c.Addr, c.NATS, c.Version = id, data, addr, nats, a.Version
			c.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if join != "" {
				var err error
				if c.Join, err = client.ParseURLs(join); err != nil {
					return fmt.Errorf("--join: %w", err)
				}
			}
			page, err := dashboard.New(dashboard.Config{ID: id, Version: a.Version, Jaeger: jaeger})
			if err != nil {
				return err
			}
			return coordinate(cmd.Context(), c, page)
		},
	}
	f := cmd.Flags()
	f.StringVar(&id, "id", "c1", "name of this coordinator, unique among them")
	f.StringVar(&data, "data", "ressa-coordinator", "folder of its log, snapshots and jobs' lines")
	f.StringVar(&addr, "addr", "127.0.0.1:7400", "HOST:PORT of its API and of Raft, as others reach it; port 0 takes a free one and keeps it")
	f.StringVar(&join, "join", "", "URLs of coordinators to join; without, an empty folder begins a new cluster")
	f.StringVar(&nats, "nats", cluster.Embedded, "\"embedded\", or the URL of an existing NATS for control messages")
	f.StringVar(&jaeger, "jaeger", "", "URL of Jaeger's pages as browsers reach it: the dashboard links steps to their traces there")
	f.DurationVar(&lease, "lease", 3*time.Second, "how long a node may be silent before it counts as lost")
	f.DurationVar(&stall, "stall-limit", 2*time.Minute, "how long nothing may move in a job until it goes on without the nodes that the others wait for;\nten times the longest it was quiet before, where that is more; 0 only shows it")
	return cmd
}

// coordinate runs a member until ctx ends, in good order, or until it is taken out.
func coordinate(ctx context.Context, c cluster.Config, page http.Handler) (err error) {
	m, err := cluster.Open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	lines, err := joblog.Open(filepath.Join(c.Dir, "jobs"), c.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lines.Close()) }()
	if err := lines.Listen(m.Hub()); err != nil {
		return err
	}
	telling, stop := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() { defer close(told); spans.Run(telling, tellingOf(m, c)) }()
	defer func() { stop(); <-told }()
	s := server.New(server.Config{Cluster: m, Lines: lines, TLS: c.TLS, Logger: c.Logger, Version: c.Version, Page: page})
	served := make(chan error, 1)
	go func() { served <- s.Serve(m.Listener()) }()
	c.Logger.Info("coordinator is up", "id", c.ID, "addr", m.Addr(), "hub", m.HubURLs()[0])
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	for {
		select {
		case err := <-served:
			return err
		case <-m.Removed():
			c.Logger.Info("taken out of the cluster")
		case <-ctx.Done():
		case <-sweep.C:
			// Jobs that the state has forgotten; a member that has just come up may not
			// know them yet.
			if now := m.State(); now.Index() > 0 {
				if _, _, ok := m.Leader(); ok {
					if err := lines.Keep(func(job string) bool { return now.Job(job) != nil }); err != nil {
						c.Logger.Warn("old lines not removed", "error", err)
					}
				}
			}
			continue
		}
		c.Logger.Info("stopping")
		until, cancel := context.WithTimeout(context.Background(), stopWait)
		defer cancel()
		return s.Shutdown(until)
	}
}
