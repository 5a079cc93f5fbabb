package gpu

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"ressa/coordinator/api"
)

// Config holds what a monitor waits for.
type Config struct {
	Every    time.Duration // between two readings of all GPUs
	Patience time.Duration // how long a call may take before the GPU counts as hung
	OpenWait time.Duration // how long opening may take: drivers wake GPUs then
	Remember time.Duration // how long an XID that is no failure is told
	Now      func() time.Time
	Logger   *slog.Logger
}

// DefaultConfig returns the product's times.
func DefaultConfig() Config {
	return Config{Every: time.Second, Patience: 10 * time.Second, OpenWait: 20 * time.Second, Remember: time.Hour, Now: time.Now, Logger: slog.Default()}
}

// Monitor watches the GPUs of this machine.
type Monitor struct {
	Config
	driver  driver
	devices []Device
	deaf    error // why XIDs of some GPU are not heard of; nil where they are
}

// opened is how opening went.
type opened struct {
	devices   []Device
	deaf, err error
}

// Open loads NVML and lists the GPUs. Errors wrap [ErrNone] where there are none as
// far as this build can tell; others are about a driver that is there.
func Open(ctx context.Context, c Config) (*Monitor, error) {
	d, err := native()
	if err != nil {
		return nil, err
	}
	return open(ctx, c, d)
}

func open(ctx context.Context, c Config, d driver) (*Monitor, error) {
	done, abandoned := make(chan opened), make(chan struct{})
	go func() {
		o := begin(d)
		select {
		case done <- o:
		case <-abandoned:
			if o.err == nil {
				_ = d.close() // nobody is left to be told
			}
		}
	}()
	late := time.NewTimer(c.OpenWait)
	defer late.Stop()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return &Monitor{Config: c, driver: d, devices: o.devices, deaf: o.deaf}, nil
	case <-late.C:
		close(abandoned)
		return nil, fmt.Errorf("the NVIDIA driver has not answered for %v", c.OpenWait)
	case <-ctx.Done():
		close(abandoned)
		return nil, ctx.Err()
	}
}

// begin opens the driver; after an error nothing is open.
func begin(d driver) opened {
	var o opened
	if o.err = d.open(); o.err != nil {
		return o
	}
	if o.devices, o.err = d.list(); o.err == nil && len(o.devices) == 0 {
		o.err = fmt.Errorf("%w: the NVIDIA driver knows none", ErrNone)
	}
	if o.err != nil {
		_ = d.close() // the first error says more
		return o
	}
	o.deaf = d.listen()
	return o
}

// Devices returns the GPUs as they were when the monitor was opened.
func (m *Monitor) Devices() []Device { return slices.Clone(m.devices) }

// Watch tells what is wrong with the GPUs, at once and at every change, until ctx
// ends; then it closes the driver. It is to be called once. A driver that hangs is
// left behind with its goroutine.
func (m *Monitor) Watch(ctx context.Context, tell func([]api.Finding)) {
	w := newWatch(m)
	reader, listener := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(reader)
		w.read()
	}()
	go func() {
		defer close(listener)
		w.listen(ctx)
	}()
	w.run(ctx, tell)
	close(w.asks)
	end := time.NewTimer(endWait)
	defer end.Stop()
	closed := make(chan error, 1)
	go func() {
		<-reader
		<-listener
		closed <- m.driver.close()
	}()
	select {
	case err := <-closed:
		if err != nil {
			m.Logger.Warn("driver not closed", "error", err)
		}
	case <-end.C:
		m.Logger.Warn("the NVIDIA driver does not answer and is left open")
	}
}

// endWait is how long the end of a watch waits for the driver.
const endWait = 3 * time.Second
