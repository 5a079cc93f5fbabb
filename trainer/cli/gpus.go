package cli

import (
	"context"
	"errors"

	"ressa/trainer/agent"
	"ressa/trainer/gpu"
)

// watchGPUs has a node watch the GPUs of its machine, where there are any. Those in
// c.GPUs make it unfit.
func watchGPUs(ctx context.Context, c *agent.Config) error {
	g := gpu.DefaultConfig()
	g.Logger = c.Logger
	m, err := gpu.Open(ctx, g)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, gpu.ErrNone):
		c.Logger.Info("GPUs", "none", err)
		return nil
	case err != nil: // there is a driver, and something is wrong with it
		c.Logger.Warn("GPUs are not watched", "reason", err)
		if c.Devices[0].Note != "" {
			c.Devices[0].Note += "; "
		}
		c.Devices[0].Note += "GPUs are not watched: " + err.Error()
		return nil
	}
	for _, d := range m.Devices() {
		c.Logger.Info("GPU", "index", d.Index, "uuid", d.UUID, "name", d.Name, "memory", d.Memory, "capability", d.Capability,
			"driver", d.Driver, "bus", d.BusID, "mig", d.MIG)
	}
	c.Monitor = m
	return nil
}
