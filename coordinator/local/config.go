package local

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// Limits of what one machine is asked for.
const (
	maxNodes        = 64
	maxCoordinators = 5
)

// Config says what to start.
type Config struct {
	Nodes        int // trainers, t1, t2, …
	Coordinators int // c1, c2, …: 1, 3 or 5
	// Dir is where the cluster's directory is made; empty is the system's for
	// temporary files.
	Dir string
	// Binary is ressa itself, as os.Executable gives it.
	Binary string
	// Device is what each trainer computes on; see api.ParseDevice.
	Device string
	// Threads of each trainer; 0 divides the processors among them.
	Threads int
	// Deadline is how long the cluster may take until all trainers are registered,
	// Grace how long a process may take to end when it is asked to.
	Deadline, Grace time.Duration
	Logger          *slog.Logger // required
}

// DefaultConfig returns the configuration of so many trainers under one
// coordinator.
func DefaultConfig(binary string, nodes int, logger *slog.Logger) Config {
	return Config{Nodes: nodes, Coordinators: 1, Binary: binary, Device: "auto", Deadline: time.Minute, Grace: 5 * time.Second, Logger: logger}
}

// ErrConfig is wrapped by errors about a Config.
var ErrConfig = errors.New("local cluster")

func (c Config) validate() error {
	switch {
	case c.Nodes < 1 || c.Nodes > maxNodes:
		return fmt.Errorf("%w: found %d nodes, want 1 to %d", ErrConfig, c.Nodes, maxNodes)
	case c.Coordinators < 1 || c.Coordinators > maxCoordinators || c.Coordinators%2 == 0:
		return fmt.Errorf("%w: found %d coordinators, want 1, 3 or 5: of an even number no more may fail than of one less", ErrConfig, c.Coordinators)
	case c.Threads < 0:
		return fmt.Errorf("%w: found %d threads, want 0 (divided) or more", ErrConfig, c.Threads)
	case c.Binary == "" || c.Device == "" || c.Logger == nil || c.Deadline <= 0 || c.Grace <= 0:
		return fmt.Errorf("%w: binary %q, device %q, deadline %v, grace %v, logger %v: want all of them", ErrConfig, c.Binary, c.Device, c.Deadline, c.Grace, c.Logger)
	}
	return nil
}

// threads returns how many each trainer computes with.
func (c Config) threads() int {
	if c.Threads > 0 {
		return c.Threads
	}
	return max(1, runtime.NumCPU()/c.Nodes)
}
