//go:build cgo

package bench

// #cgo CFLAGS: -std=gnu11 -O3 -Wno-psabi
// #include "floor.h"
import "C"

import (
	"sync"
	"time"
	"unsafe"
)

// Sizes of the measurement of floors.
const (
	floorRepeats = 1 << 22 // multiply-adds of each chain
	floorFloats  = 1 << 26 // read at once: far more than any cache holds
	floorTries   = 25      // of which the best counts
)

// measureFloor measures what the processor reaches at most on so many threads.
func measureFloor(threads int) Floor {
	f := Floor{Cache: lastLevelCache()}
	best := func(work float64, task func(k int)) float64 {
		rate := 0.0
		for range floorTries {
			var group sync.WaitGroup
			start := time.Now()
			for k := range threads {
				group.Go(func() { task(k) })
			}
			group.Wait()
			rate = max(rate, work/time.Since(start).Seconds()/1e9)
		}
		return rate
	}
	// GCC vectors are 16 floats; chains are those of floor.h.
	flops := func(chains int) float64 { return 2 * 16 * float64(chains) * floorRepeats * float64(threads) }
	f.GFLOPS = max(best(flops(12), func(int) { C.floor_wide(floorRepeats, 0.5, 0.5) }),
		best(flops(6), func(int) { C.floor_narrow(floorRepeats, 0.5, 0.5) }))
	memory := make([]float32, floorFloats+16)
	for i := range memory { // or all pages were one of zeros
		memory[i] = 1
	}
	skip := -int(uintptr(unsafe.Pointer(&memory[0]))/4) & 15 // to the next 64 bytes
	part := floorFloats / threads &^ 63
	f.GBps = best(float64(4*part*threads), func(k int) {
		C.floor_memory((*C.float)(&memory[skip+k*part]), C.int64_t(part))
	})
	return f
}
