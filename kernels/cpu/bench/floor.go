//go:build cgo

package bench

// #cgo CFLAGS: -std=gnu11 -O3 -Wno-psabi
// #include "floor.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"ressa/kernels"
	"ressa/kernels/cpu"
)

// Sizes of the measurement of floors.
const (
	floorRepeats = 1 << 21 // multiply-adds of each chain
	floorFloats  = 1 << 26 // read at once: far more than any cache holds
	floorTries   = 9       // of which the best counts
)

// measureFloor measures what the processor reaches at most on so many threads, in
// memory of d. Arithmetic is the sum of what threads do in processor time of their
// own, which other programs do not take part of.
func measureFloor(d kernels.Device, threads int) (f Floor, err error) {
	f.Cache = lastLevelCache()
	// GCC vectors are 16 floats; chains are those of floor.h.
	flops := func(chains int) float64 { return 2 * 16 * float64(chains) * floorRepeats }
	own := func() func() time.Duration { _, clock := threadClock(); return clock }
	f.GFLOPS = max(best(threads, flops(12), own, func(int) { C.floor_wide(floorRepeats, 0.5, 0.5) }),
		best(threads, flops(6), own, func(int) { C.floor_narrow(floorRepeats, 0.5, 0.5) }))
	b, err := d.Alloc(4 * floorFloats)
	if err != nil {
		return f, err
	}
	defer d.Free(b)
	s, err := d.NewStream()
	if err != nil {
		return f, err
	}
	memory := kernels.NewTensor(b, kernels.F32, 1, floorFloats)
	s.Fill(memory, 1) // or all pages were one of zeros
	if err := s.Close(); err != nil {
		return f, err
	}
	address := (*[floorFloats]C.float)(cpu.Address(d, memory))
	if address == nil {
		return f, errors.New("floor: the device's memory has no address")
	}
	part := floorFloats / threads &^ 255
	if part == 0 {
		return f, fmt.Errorf("floor: %d threads are too many", threads)
	}
	clock := own
	if threads > 1 { // they share the memory: a thread that waits leaves it to the others
		clock = wall
	}
	f.GBps = max(best(threads, float64(4*part), clock, func(k int) { C.floor_memory(&address[k*part], C.int64_t(part)) }),
		best(threads, float64(8*part), clock, func(k int) { C.floor_update(&address[k*part], C.int64_t(part), 1) }))
	return f, nil
}

// best returns the best sum of the threads' rates, in units of 10⁹ a second. Each
// does the work by its own clock.
func best(threads int, work float64, clock func() func() time.Duration, task func(k int)) (rate float64) {
	for range floorTries {
		rates := make([]float64, threads)
		var group sync.WaitGroup
		for k := range threads {
			group.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				now := clock()
				start := now()
				task(k)
				rates[k] = work / (now() - start).Seconds() / 1e9
			})
		}
		group.Wait()
		sum := 0.0
		for _, r := range rates {
			sum += r
		}
		rate = max(rate, sum)
	}
	return rate
}
