//go:build cgo && linux

package cuda

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// Stream is an ordered queue of operations on a device; see [kernels.Stream]. It
// belongs to one goroutine at a time.
type Stream struct {
	device *Device
	queue  driver.Stream
	err    error // the first; it stays
	closed bool

	serial atomic.Uint64 // launches that were enqueued
	done   atomic.Uint64 // of them, those that are known to have run

	fault  *buffer      // what kernels say about indices; struct fault of device.cuh
	report *driver.Host // where it is read
	checks []check      // launches that may have said something

	marks   [4]mark // points in the queue, so that it has a bound
	staging ring
	scratch *buffer
}

// check is a launch that uses what lies in device memory, and may refuse it.
type check struct {
	serial uint64
	op     string
	limit  int
	fault  func(op string, i int, v int32, limit int) error // the error for what refuse said
}

// mark is an event behind the launch with that serial; 0 where it is not used.
type mark struct {
	event  driver.Event
	serial uint64
}

// markEvery is how many launches lie between two marks.
const markEvery = 256

// faultBytes is the size of struct fault.
const faultBytes = 16

var errClosed = errors.New("cuda: the stream was closed")

// NewStream returns an empty stream.
func (d *Device) NewStream() (kernels.Stream, error) {
	s, err := d.newStream()
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (d *Device) newStream() (*Stream, error) {
	s := &Stream{device: d}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("cuda: open a stream: %w", err), s.release())
	}
	d.mu.Lock()
	d.streams[s] = true
	d.mu.Unlock()
	return s, nil
}

func (s *Stream) open() error {
	d := s.device
	b, err := d.Alloc(faultBytes)
	if err != nil {
		return err
	}
	s.fault = b.(*buffer)
	if s.report, err = d.context.AllocHost(faultBytes); err != nil {
		return err
	}
	for i := range s.marks {
		if s.marks[i].event, err = d.context.NewEvent(false); err != nil {
			return err
		}
	}
	s.queue, err = d.context.NewStream()
	return err
}

// fail keeps the stream's first error.
func (s *Stream) fail(err error) {
	if err != nil && s.err == nil {
		s.err = err
	}
}

// enqueued counts one more launch. Where the queue has too many, it waits
// for older ones.
func (s *Stream) enqueued() {
	n := s.serial.Add(1)
	if n%markEvery != 0 {
		return
	}
	m := &s.marks[n/markEvery%uint64(len(s.marks))]
	if m.serial != 0 {
		if err := s.device.patiently(m.event.Query); err != nil {
			s.fail(err)
			return
		}
		s.done.Store(max(s.done.Load(), m.serial))
	}
	s.fail(s.queue.Record(m.event))
	m.serial = n
}

// checked notes that the last launch may refuse what it reads: indices that are not below
// limit, with [kernels.CheckRowIndex].
func (s *Stream) checked(op string, limit int, fault func(op string, i int, v int32, limit int) error) {
	if s.err != nil {
		return
	}
	s.checks = append(s.checks, check{s.serial.Load(), op, limit, fault})
	if len(s.checks) >= 4*markEvery { // so that the list has a bound too
		s.fail(s.wait(s.device.patiently))
	}
}

// Synchronize waits until everything enqueued has run, and returns the first error of
// the stream, or the context's.
func (s *Stream) Synchronize(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed {
		return s.err
	}
	if err := s.wait(func(ready func() (bool, error)) error { return await(ctx, ready) }); err != nil {
		return err
	}
	return s.err
}

// drained reports whether all queues are empty.
func (s *Stream) drained() (bool, error) {
	if done, err := s.queue.Query(); !done || err != nil {
		return false, err
	}
	return s.staging.drained()
}

// wait drains the queues by until, writes what was downloaded and learns of faults,
// which the stream keeps. The error is until's own: the wait was given up, and
// nothing has changed.
func (s *Stream) wait(until func(ready func() (bool, error)) error) error {
	enqueued := s.serial.Load()
	if len(s.checks) > 0 {
		if err := s.queue.CopyToHost(s.report, 0, s.fault.piece.at, faultBytes); err != nil {
			s.fail(err)
			return nil
		}
	}
	if err := until(s.drained); errors.As(err, new(*driver.Error)) {
		s.fail(err)
		return nil
	} else if err != nil {
		return err
	}
	s.done.Store(enqueued)
	for i := range s.marks {
		s.marks[i].serial = 0
	}
	before := enqueued + 1
	if serial, err := s.found(); err != nil {
		// It comes before any other: nothing was enqueued behind those.
		s.err = err
		before = serial
	}
	s.checks = s.checks[:0]
	s.staging.deliver(before)
	return nil
}

// found returns the launch that refused what it read, and the error for it.
func (s *Stream) found() (uint64, error) {
	if len(s.checks) == 0 {
		return 0, nil
	}
	raw := s.report.Bytes()
	serial, first := binary.LittleEndian.Uint64(raw), ^binary.LittleEndian.Uint64(raw[8:])
	if serial == 0 {
		return 0, nil
	}
	for _, c := range s.checks {
		if c.serial == serial {
			return serial, c.fault(c.op, int(first>>32), int32(uint32(first)), c.limit)
		}
	}
	return serial, fmt.Errorf("cuda: launch %d reports a fault, but reads nothing that could be one", serial)
}

// Close waits for what was enqueued and releases the stream.
func (s *Stream) Close() error {
	if s.closed {
		return nil
	}
	if err := s.wait(s.device.patiently); err != nil {
		return err // its memory may still be in use, so it stays
	}
	s.closed = true
	s.done.Store(s.serial.Load())
	s.fail(errClosed)
	return s.release()
}

func (s *Stream) release() error {
	d := s.device
	d.mu.Lock()
	delete(d.streams, s)
	d.mu.Unlock()
	var errs []error
	if s.queue != (driver.Stream{}) {
		errs = append(errs, s.queue.Destroy())
	}
	for _, m := range s.marks {
		if m.event != (driver.Event{}) {
			errs = append(errs, m.event.Destroy())
		}
	}
	errs = append(errs, s.staging.release(d))
	if s.report != nil {
		errs = append(errs, d.context.FreeHost(s.report))
	}
	for _, b := range []*buffer{s.fault, s.scratch} {
		if b != nil {
			d.Free(b)
		}
	}
	return errors.Join(errs...)
}
