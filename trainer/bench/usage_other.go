//go:build !linux

package bench

import "time"

func processorTime() time.Duration { return 0 }

func resident() int64 { return 0 }

func peakResident() int64 { return 0 }

func forgetPeak() {}
