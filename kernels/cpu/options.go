package cpu

// Options configures a device.
type Options struct {
	// Threads is how many threads one device computes with, the callers'
	// goroutines included; 0 means as many as there are processors. It never
	// changes a result.
	Threads int
	// Variant is "avx512", "avx2" or "generic", or empty for the best one that
	// the processor has.
	Variant string
}

// version counts changes of the kernels that change the bits of a result.
const version = 3
