package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"ressa/kernels"
	"ressa/kernels/cuda"
	"ressa/kernels/sparse"
)

// Subject is a case on a device of its own.
type Subject struct {
	Parts    []Part
	operands operands
	clock    cuda.Stopwatch
	repeat   int
}

// stopwatched and counted are what a CUDA device has beside its interfaces.
type (
	stopwatched interface{ NewStopwatch() cuda.Stopwatch }
	counted     interface{ Statistics() cuda.Statistics }
)

// mostLaps bounds the marks in the stream of one turn.
const mostLaps = 1000

// Open opens a device, makes the operands and runs the case once. Of a layer p is the
// pattern of the mask.
func Open(ctx context.Context, o cuda.Options, stock *Stock, c Case, p sparse.Pattern, least time.Duration) (*Subject, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	d, err := cuda.Open(o)
	if err != nil {
		return nil, err
	}
	s := &Subject{operands: operands{device: d, random: 1, named: map[string]kernels.Tensor{}}}
	if err := s.open(ctx, stock, c, p, least); err != nil {
		return nil, errors.Join(fmt.Errorf("%v: %w", c, err), s.Close())
	}
	return s, nil
}

func (s *Subject) open(ctx context.Context, stock *Stock, c Case, p sparse.Pattern, least time.Duration) (err error) {
	o := &s.operands
	if o.stream, err = o.device.NewStream(); err != nil {
		return err
	}
	clocked, ok := o.stream.(stopwatched)
	if !ok {
		return fmt.Errorf("a stream of %s cannot be measured", o.device.Kind())
	}
	s.clock = clocked.NewStopwatch()
	var w sparse.Packed
	if c.Suite == Layer {
		if w, err = stock.weight(c.Out, c.In, p); err != nil {
			return err
		}
	}
	s.Parts = o.parts(c, w, kernels.BF16)
	if o.err != nil {
		return o.err
	}
	if err := o.stream.Synchronize(ctx); err != nil {
		return err
	}
	for range 2 { // the first one also loads the kernels
		s.repeat = 1
		times, err := s.Turn(ctx)
		if err != nil {
			return err
		}
		once := times[len(times)-1]
		s.repeat = max(1, min(mostLaps/len(s.Parts), int(math.Ceil(least.Seconds()/max(once, 1e-6)))))
	}
	return nil
}

// parts returns the operations of a case.
func (o *operands) parts(c Case, w sparse.Packed, round kernels.DType) []Part {
	switch c.Suite {
	case Layer:
		return o.layer(c, w, round)
	case Attention:
		return o.attention(c)
	case Loss:
		return o.loss(c)
	}
	return o.memory(c)
}

// Kind is the device's.
func (s *Subject) Kind() string { return s.operands.device.Kind() }

// Turn runs the parts one after the other, again and again, and returns the mean
// seconds of each, and last those of all together.
func (s *Subject) Turn(ctx context.Context) ([]float64, error) {
	for range s.repeat {
		s.clock.Lap()
		for _, p := range s.Parts {
			p.run(s.operands.stream)
			s.clock.Lap()
		}
	}
	laps, err := s.clock.Read(ctx)
	if err != nil {
		return nil, err
	}
	times := make([]float64, len(s.Parts)+1)
	for i, d := range laps {
		part := i % (len(s.Parts) + 1)
		if part == len(s.Parts) {
			continue // between the last mark of one round and the first of the next
		}
		times[part] += d.Seconds() / float64(s.repeat)
		times[len(s.Parts)] += d.Seconds() / float64(s.repeat)
	}
	return times, nil
}

// Peak is the most memory that the device had in use, operands included.
func (s *Subject) Peak() int64 { return int64(s.operands.device.(counted).Statistics().PeakInUse) }

// Close frees everything.
func (s *Subject) Close() error {
	o := &s.operands
	var errs []error
	if s.clock != nil {
		errs = append(errs, s.clock.Close())
	}
	if o.stream != nil {
		errs = append(errs, o.stream.Close())
	}
	return errors.Join(append(errs, o.device.Close())...)
}
