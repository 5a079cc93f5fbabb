package cli

import (
	"fmt"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/trainer/agent"
)

// offerMemory says in an inventory what memory a device has: its own, or else the
// machine's.
func offerMemory(to *api.Device, d kernels.Device) error {
	own, ok := d.(kernels.Measured)
	if !ok {
		to.Memory = agent.FreeMemory()
		return nil
	}
	m, err := own.Memory()
	if err != nil {
		return fmt.Errorf("memory of %s: %w", to.Name, err)
	}
	to.Memory, to.Apart, to.Stream = m.Free, true, m.Stream
	return nil
}
