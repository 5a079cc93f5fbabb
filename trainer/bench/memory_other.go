//go:build !linux

package bench

func resident() int64 { return 0 }

func peakResident() int64 { return 0 }

func forgetPeak() {}
