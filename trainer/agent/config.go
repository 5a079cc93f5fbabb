package agent

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"ressa/collective/link"
	"ressa/coordinator/api"
	"ressa/trainer/activity"
)

// Config describes a node.
type Config struct {
	Name         string // unique in the cluster
	Dir          string // holds the folders of its jobs
	Coordinators []string
	Version      string // of Ressa
	// Listen is the address at which peers dial the node's server for tensors.
	Listen  string
	Threads int
	Devices []api.Device
	// Monitor watches the machine's GPUs; nil where there are none. GPUs names those that
	// the node computes on: by UUID, as in Devices. A fatal finding about one of these
	// makes the node unfit.
	Monitor Monitor
	GPUs    map[string]string
	Logger  *slog.Logger
	Now     func() time.Time
	// Work does one worker's part of a job. It ends when ctx does.
	Work func(ctx context.Context, p Part) (api.Result, error)
	// Inspect says what a job costs, or what is wrong with it.
	Inspect func(ctx context.Context, spec string) api.Inspection
	// Trace returns what this node recorded of a step, Profile what its process does
	// during the next ones; nil where nothing is recorded.
	Trace   func(ask api.TraceRequest) (api.Trace, error)
	Profile func(ctx context.Context, ask api.ProfileRequest) (api.NodeProfile, error)
	// OrphanTimeout is how long workers go on without any coordinator.
	OrphanTimeout time.Duration
	// RegisterWait is how long the first registration is tried.
	RegisterWait time.Duration
	// JoinTimeout bounds how long the workers of a generation wait for each other.
	JoinTimeout time.Duration
}

// DefaultConfig returns the product's times.
func DefaultConfig() Config {
	return Config{Logger: slog.Default(), Now: time.Now, OrphanTimeout: 10 * time.Minute, RegisterWait: 30 * time.Second, JoinTimeout: time.Minute}
}

// Part is one worker's part in one generation of a job.
type Part struct {
	api.Assignment
	Session *link.Session // the group of the generation's workers
	Dir     string        // of the job on this node
	Emit    func(api.Event)
	Log     *slog.Logger
	// Publish tells the cluster of a checkpoint that is on disk. It does not wait.
	Publish func(api.Published)
	// Activity is told what the worker is doing.
	Activity *activity.Tracker
	// Progress tells how far the worker is.
	Progress func(phase string, step int, microbatches []int)
	// WentOn tells where training went on in this generation; worker 0 calls it.
	WentOn func(api.Origin)
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

func (c *Config) check() error {
	if !nameForm.MatchString(c.Name) {
		return api.Invalid(fmt.Errorf("--name %q: want up to 63 letters, digits, - and _", c.Name))
	}
	if c.Dir == "" || len(c.Coordinators) == 0 || c.Logger == nil || c.Now == nil || c.Work == nil || c.Inspect == nil || len(c.Devices) == 0 {
		return fmt.Errorf("agent: want a folder, coordinators, a logger, a clock, devices and what to do with them")
	}
	if c.OrphanTimeout <= 0 {
		return api.Invalid(fmt.Errorf("--orphan-timeout: found %v, want a time above 0", c.OrphanTimeout))
	}
	if c.RegisterWait <= 0 || c.JoinTimeout <= 0 {
		return fmt.Errorf("agent: times must be positive")
	}
	return nil
}
