package cli

import (
	"fmt"
	"log/slog"
	"runtime"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/reference"
)

// smallModel is the size of the weights, in bytes, below which every thread
// computes a microbatch of its own; above it all threads work on one, whose
// activations are what memory is short of. The result is the same bits either way.
const smallModel = 200_000_000

// openDevice opens what --device names. lanes is how many microbatches to compute
// at the same time.
func openDevice(name string, threads int, weights int64, log *slog.Logger) (d kernels.Device, lanes int, err error) {
	if name != "auto" && name != "cpu" {
		return nil, 0, api.Invalid(fmt.Errorf("--device: found %q, want auto or cpu", name))
	}
	if threads == 0 {
		threads = runtime.NumCPU()
	}
	lanes = 1
	inner := threads
	if weights < smallModel {
		lanes, inner = threads, 1
	}
	d, err = cpu.Open(cpu.Options{Threads: inner})
	if err == nil {
		log.Info("device", "kind", d.Kind(), "lanes", lanes, "threads", inner)
		return d, lanes, nil
	}
	if name == "cpu" {
		return nil, 0, fmt.Errorf("open device cpu: %w", err)
	}
	log.Warn("C kernels cannot be used; computing with the slow reference", "reason", err)
	return reference.Open(), lanes, nil
}
