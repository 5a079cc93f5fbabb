package bench

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime returns what all threads of this process have used.
func processorTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0 // never: every Linux has it
	}
	return time.Duration(t.Nano())
}

// resident returns the resident size of this process in bytes, 0 if unknown.
func resident() int64 { return status("VmRSS:") }

// peakResident returns its highest value since the start or the last forgetPeak.
func peakResident() int64 { return status("VmHWM:") }

// forgetPeak starts the peak anew. Where the system does not let it, the peak is
// that of the whole process.
func forgetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

func status(field string) int64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(raw, []byte("\n"+field))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
