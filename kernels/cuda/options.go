package cuda

import (
	"context"
	"time"

	"ressa/kernels"
	"ressa/kernels/cuda/source"
)

// Options configures a device.
type Options struct {
	// Library is the path of libcuda; empty for the driver's own, libcuda.so.1.
	Library string
	// Device is the number of the GPU.
	Device int
	// Compute is what operands of products of matrices are rounded to: F32, not at
	// all, or BF16, once, as the kernel loads them. Sums are float32 and tensors keep
	// their dtypes either way. It is part of the device's kind.
	Compute kernels.DType
	// Objects returns the compiled kernels for a compute capability; nil for those
	// that are embedded.
	Objects func(major, minor int) (source.Images, error)
	// Uncached makes each buffer an allocation of the driver's own, of exactly its
	// size, so that tools that check addresses see its bounds. It is slow.
	Uncached bool
	// Staging is the pinned memory of each stream in bytes, rounded up to KiB; 0
	// for 16 MiB.
	Staging int
	// Patience is how long the GPU may take for what it was told before the stream
	// that waits fails; 0 for ten minutes. Synchronize obeys its context instead.
	Patience time.Duration
}

// GPU is what a device computes on.
type GPU struct {
	Name       string
	UUID       string // as NVML writes it: GPU-…
	Capability string // compute capability, like 9.0
	Memory     int64  // bytes
}

// Statistics counts a device's memory. Sizes are in bytes.
type Statistics struct {
	InUse, PeakInUse       int // of the pieces behind buffers that were not freed
	Streams, PeakStreams   int // of InUse, what streams took for themselves
	Reserved, PeakReserved int // of the driver's memory, freed pieces that are kept included
	Allocations            int // buffers asked for
	Reused                 int // of them, those that a kept piece served
	Returned               int // pieces given back to the driver, since it had no more
}

// Stopwatch measures a stream by the GPU's own clock. It belongs to the stream's
// goroutine, and ends before the stream does.
type Stopwatch interface {
	// Lap notes the time at which everything enqueued so far has run.
	Lap()
	// Read waits for the stream and returns the times from each lap to the next, then
	// forgets the laps.
	Read(ctx context.Context) ([]time.Duration, error)
	// Close releases what laps are noted in.
	Close() error
}
