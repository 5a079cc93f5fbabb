package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/kernels"
	"ressa/trainer/agent"
	"ressa/trainer/job"
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
			n := &node{device: device, threads: threads}
			defer n.close()
			c := agent.DefaultConfig()
			c.Name, c.Dir, c.Coordinators, c.Version, c.Threads, c.Listen, c.OrphanTimeout = name, data, urls, version, threads, listen, orphan
			c.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			c.Work, c.Inspect = n.work, inspect
			if c.Listen == "" {
				if c.Listen, err = towards(urls[0]); err != nil {
					return err
				}
			}
			if c.Devices, err = n.devices(cmd.Context(), c.Logger); err != nil {
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
	f.StringVar(&device, "device", "auto", "what computes: auto or cpu")
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

// devices opens the device once, to say what it is and how fast.
func (n *node) devices(ctx context.Context, log *slog.Logger) ([]api.Device, error) {
	d, lanes, err := openDevice(n.device, n.threads, 0, runtime.NumCPU(), log)
	if err != nil {
		return nil, err
	}
	speed, err := productSpeed(ctx, d)
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	return []api.Device{{Name: "cpu", Kind: d.Kind(), Speed: speed * float64(lanes), Memory: agent.FreeMemory()}}, nil
}

// productSpeed measures a product of dense matrices on one lane, in flop/s.
func productSpeed(ctx context.Context, d kernels.Device) (float64, error) {
	const rows, width, turns = 128, 512, 5
	s, err := d.NewStream()
	if err != nil {
		return 0, err
	}
	alloc := func(rows int) (kernels.Tensor, error) {
		b, err := d.Alloc(rows * width * kernels.F32.Size())
		return kernels.NewTensor(b, kernels.F32, rows, width), err
	}
	x, err := alloc(rows)
	if err != nil {
		return 0, errors.Join(err, s.Close())
	}
	defer d.Free(x.Buffer)
	y, err := alloc(rows)
	if err != nil {
		return 0, errors.Join(err, s.Close())
	}
	defer d.Free(y.Buffer)
	w, err := alloc(width)
	if err != nil {
		return 0, errors.Join(err, s.Close())
	}
	defer d.Free(w.Buffer)
	s.Fill(x, 1)
	s.Fill(w, 1)
	best := 0.0
	for range turns {
		began := time.Now()
		s.LinearForward(y, x, kernels.LinearWeight{W: w, Round: kernels.F32}, kernels.Tensor{})
		if err := s.Synchronize(ctx); err != nil {
			return 0, errors.Join(err, s.Close())
		}
		best = max(best, 2*rows*width*width/time.Since(began).Seconds())
	}
	return best, s.Close()
}

// inspect says what a job costs, or what is wrong with it.
func inspect(ctx context.Context, spec string) api.Inspection {
	refuse := func(err error) api.Inspection {
		return api.Inspection{Error: err.Error(), ExitCode: api.ExitCode(err)}
	}
	j, err := api.ParseJob("job", strings.NewReader(spec))
	if err != nil {
		return refuse(err)
	}
	p, err := job.Profile(ctx, j)
	if err != nil {
		return refuse(api.Invalid(err))
	}
	return api.Inspection{Profile: p, Name: j.Name, Steps: j.Train.Steps, Strict: j.Train.Numerics != "relaxed", Microbatches: j.Train.Microbatches, Wire: j.Train.Wire}
}
