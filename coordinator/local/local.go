package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
)

// Local is a running cluster.
type Local struct {
	config    Config
	dir       string
	urls      []string
	processes []*process // coordinators first
	starts    chan func()
	close     sync.Once
	closed    error
}

// Start starts a cluster and waits until every trainer is registered. When that
// fails, or ctx ends first, nothing is left of it.
func Start(ctx context.Context, c Config) (*Local, error) {
	if err := c.validate(); err != nil {
		return nil, api.Invalid(err)
	}
	dir, err := os.MkdirTemp(c.Dir, ".ressa-local-")
	if err != nil {
		return nil, fmt.Errorf("local cluster: %w", err)
	}
	l := &Local{config: c, dir: dir, starts: make(chan func())}
	go l.starter()
	until, cancel := context.WithTimeoutCause(ctx, c.Deadline, fmt.Errorf("not up within %v", c.Deadline))
	defer cancel()
	if err := l.up(until); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		} else {
			err = fmt.Errorf("local cluster: %w", err)
		}
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// starter runs what starts processes on one thread, which lives as long as they:
// the kernel ends them with it.
func (l *Local) starter() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for start := range l.starts {
		start()
	}
}

// URLs returns those of the coordinators.
func (l *Local) URLs() []string { return l.urls }

// up starts the processes in the order in which they need each other.
func (l *Local) up(ctx context.Context) error {
	for i := range l.config.Coordinators {
		id := fmt.Sprintf("c%d", i+1)
		args := []string{"coordinator", "--id", id, "--addr", "127.0.0.1:0"}
		if i > 0 {
			args = append(args, "--join", l.urls[0])
		}
		p, err := l.launch(id, args...)
		if err != nil {
			return err
		}
		url, err := l.address(ctx, p)
		if err != nil {
			return err
		}
		l.urls = append(l.urls, url)
	}
	config := client.DefaultConfig(l.urls...)
	config.Logger, config.Timeout, config.Patience = l.config.Logger, 5*time.Second, 0
	cl, err := client.New(config)
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := l.until(ctx, members(cl, l.config.Coordinators)); err != nil {
		return err
	}
	for i := range l.config.Nodes {
		name := fmt.Sprintf("t%d", i+1)
		if _, err := l.launch(name, "trainer", "--name", name, "--coordinator", strings.Join(l.urls, ","),
			"--device", l.config.Device, "--threads", strconv.Itoa(l.config.threads())); err != nil {
			return err
		}
	}
	return l.until(ctx, registered(cl, l.config.Nodes))
}

// launch starts a process and remembers it.
func (l *Local) launch(name string, args ...string) (*process, error) {
	p, err := command(l.config.Binary, l.dir, name, args...)
	if err != nil {
		return nil, err
	}
	done := make(chan error)
	l.starts <- func() { done <- p.start() }
	if err := <-done; err != nil {
		return nil, err
	}
	l.processes = append(l.processes, p)
	l.config.Logger.Debug("started", "process", name, "pid", p.cmd.Process.Pid, "args", args)
	return p, nil
}

// every is how often the cluster is looked at while it comes up.
const every = 50 * time.Millisecond

// until looks until there is nothing left to wait for. It ends early with a
// process that ended, and then or at the deadline says what was missing.
func (l *Local) until(ctx context.Context, missing func(context.Context) string) error {
	last := ""
	for {
		what := missing(ctx)
		if what == "" {
			return nil
		}
		if ctx.Err() != nil && last != "" {
			what = last // this look was cut short
		}
		last = what
		if err := l.Ended(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			var logs strings.Builder
			for _, p := range l.processes {
				fmt.Fprintf(&logs, "\n%s:\n%s", p.name, p.tail())
			}
			return fmt.Errorf("%w: %s%s", context.Cause(ctx), what, logs.String())
		case <-time.After(every):
		}
	}
}

// address waits for the file in which a coordinator leaves its address.
func (l *Local) address(ctx context.Context, p *process) (string, error) {
	var url string
	err := l.until(ctx, func(context.Context) string {
		raw, err := os.ReadFile(filepath.Join(p.dir, "addr"))
		if addr := strings.TrimSpace(string(raw)); err == nil && addr != "" {
			url = "http://" + strings.TrimPrefix(addr, "http://")
			return ""
		}
		return p.name + " has no address yet"
	})
	return url, err
}

// members says how many coordinators are missing.
func members(cl *client.Client, want int) func(context.Context) string {
	return func(ctx context.Context) string {
		c, err := cl.Cluster(ctx)
		switch {
		case err != nil:
			return err.Error()
		case c.Leader == "":
			return "no coordinator leads"
		case len(c.Members) < want:
			return fmt.Sprintf("%d of %d coordinators are members", len(c.Members), want)
		}
		return ""
	}
}

// registered says which trainers are missing.
func registered(cl *client.Client, want int) func(context.Context) string {
	return func(ctx context.Context) string {
		nodes, err := cl.Nodes(ctx)
		if err != nil {
			return err.Error()
		}
		ready := 0
		for _, n := range nodes {
			if n.State == api.NodeReady {
				ready++
			}
		}
		if ready < want {
			return fmt.Sprintf("%d of %d trainers are registered", ready, want)
		}
		return ""
	}
}

// Ended returns an error with the last lines of the first process that has ended
// by itself; nil while all run.
func (l *Local) Ended() error {
	for _, p := range l.processes {
		if !p.running() {
			return p.ended()
		}
	}
	return nil
}

// Close ends all processes, trainers first, and removes the directory.
func (l *Local) Close() error {
	l.close.Do(func() {
		close(l.starts)
		n := min(l.config.Coordinators, len(l.processes))
		l.closed = errors.Join(stop(l.processes[n:], l.config.Grace), stop(l.processes[:n], l.config.Grace), os.RemoveAll(l.dir))
	})
	return l.closed
}
