//go:build !linux

package bench

import "time"

// threadClock returns the wall clock.
func threadClock() (name string, clock func() time.Duration) { return "wall", wall() }
