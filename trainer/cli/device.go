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

// openDevice opens what --device names for weights of that many bytes. lanes is how
// many microbatches to compute at the same time: never more than most, nor than
// there are processors, because each costs the memory of its activations. Threads
// that have no lane of their own help the others.
func openDevice(name string, threads int, weights int64, most int, log *slog.Logger) (d kernels.Device, lanes int, err error) {
	if name != "auto" && name != "cpu" {
		return nil, 0, api.Invalid(fmt.Errorf("--device: found %q, want auto or cpu", name))
	}
	lanes, inner := layOut(threads, weights, most)
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

// layOut returns how many microbatches to compute at the same time, and the threads
// of a device that they share.
func layOut(threads int, weights int64, most int) (lanes, inner int) {
	if threads == 0 {
		threads = runtime.NumCPU()
	}
	lanes = 1
	if weights < smallModel {
		lanes = min(threads, runtime.NumCPU(), most)
	}
	return lanes, threads - lanes + 1
}
