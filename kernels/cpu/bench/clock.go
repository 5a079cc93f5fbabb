package bench

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Floor is what an operation cannot do better than, measured on the same number of
// threads.
type Floor struct {
	GFLOPS float64 `json:"gflops"`               // fused multiply-adds in registers, two flops each
	GBps   float64 `json:"gigabytes_per_second"` // reading memory, or reading and writing it, whichever moves more
	// Cache is the size of the last-level cache. Operands that fit it are not held to
	// the rate of memory.
	Cache float64 `json:"last_level_cache_bytes"`
}

// lastLevelCache returns its size in bytes; 32 MiB where the system does not say.
func lastLevelCache() float64 {
	raw, err := os.ReadFile("/sys/devices/system/cpu/cpu0/cache/index3/size")
	if err == nil {
		if kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(string(raw)), "K")); err == nil {
			return float64(kib) * 1024
		}
	}
	return 32 << 20
}

// wall returns a clock that counts from now.
func wall() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
