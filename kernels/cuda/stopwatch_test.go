//go:build cgo && linux

package cuda

import (
	"errors"
	"testing"
	"time"

	"ressa/kernels"
)

// Laps are apart by what was enqueued between them, and a second round starts anew.
func TestStopwatchMeasuresWhatIsBetweenLaps(t *testing.T) {
	d, s := opened(t, onDevice(t))
	const n = 1 << 22
	x := kernels.NewTensor(alloc(t, d, 4*n), kernels.F32, 1, n)
	w := s.NewStopwatch()
	for range 2 {
		start := time.Now()
		w.Lap()
		w.Lap()
		s.Fill(x, 1)
		w.Lap()
		laps, err := w.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(laps) != 2 || laps[0] < 0 || laps[1] <= laps[0] || laps[0]+laps[1] > time.Since(start)+time.Millisecond {
			t.Errorf("laps of %v in %v, want nothing, then the fill of 16 MiB", laps, time.Since(start))
		}
	}
	s.fail(errors.New("broken"))
	w.Lap()
	if laps, err := w.Read(t.Context()); err == nil || err.Error() != "broken" {
		t.Errorf("a broken stream gave %v, %v", laps, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
