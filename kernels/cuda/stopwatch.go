//go:build cgo && linux

package cuda

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ressa/kernels/cuda/driver"
)

// stopwatch keeps its events for the next laps.
type stopwatch struct {
	stream *Stream
	events []driver.Event
	laps   int
}

// NewStopwatch returns one that has noted nothing.
func (s *Stream) NewStopwatch() Stopwatch { return &stopwatch{stream: s} }

func (w *stopwatch) Lap() {
	s := w.stream
	if s.err != nil {
		return
	}
	if w.laps == len(w.events) {
		e, err := s.device.context.NewEvent(true)
		if err != nil {
			s.fail(fmt.Errorf("cuda: note a lap: %w", err))
			return
		}
		w.events = append(w.events, e)
	}
	s.fail(s.queue.Record(w.events[w.laps]))
	w.laps++
}

func (w *stopwatch) Read(ctx context.Context) ([]time.Duration, error) {
	if err := w.stream.Synchronize(ctx); err != nil {
		return nil, err
	}
	var times []time.Duration
	for i := 1; i < w.laps; i++ {
		ms, err := w.events[i].Since(w.events[i-1])
		if err != nil {
			return nil, fmt.Errorf("cuda: read a lap: %w", err)
		}
		times = append(times, time.Duration(float64(ms)*float64(time.Millisecond)))
	}
	w.laps = 0
	return times, nil
}

func (w *stopwatch) Close() error {
	var errs []error
	for _, e := range w.events {
		errs = append(errs, e.Destroy())
	}
	w.events, w.laps = nil, 0
	return errors.Join(errs...)
}
