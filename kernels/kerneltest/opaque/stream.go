//go:build unix

package opaque

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"ressa/kernels"
	"ressa/kernels/reference"
)

// stream collects operations; its goroutine runs them when it is given a batch.
type stream struct {
	device  *device
	compute kernels.Stream // touched by the goroutine only
	failure error          // of the memory protection; touched by the goroutine only
	queue   []operation
	closed  bool
	work    chan batch
	ended   chan struct{}
}

// operation runs on compute with operands that host has made addressable.
type operation func(compute kernels.Stream, host func(kernels.Tensor) kernels.Tensor)

type batch struct {
	operations []operation
	done       chan error // of capacity 1: nobody may be waiting any more
}

var errClosed = errors.New("opaque: stream is closed")

func (s *stream) enqueue(op operation) { s.queue = append(s.queue, op) }

// serve runs batches until Close ends them.
func (s *stream) serve() {
	defer close(s.ended)
	for b := range s.work {
		for _, op := range b.operations {
			s.run(op)
		}
		err := s.compute.Synchronize(context.Background())
		if err == nil {
			err = s.failure
		}
		b.done <- err
	}
}

// run opens the buffers that op asks for and locks them again afterwards.
func (s *stream) run(op operation) {
	if s.failure != nil {
		return
	}
	s.device.mu.Lock()
	defer s.device.mu.Unlock()
	open := map[*buffer]kernels.Buffer{}
	op(s.compute, func(t kernels.Tensor) kernels.Tensor {
		b, ok := t.Buffer.(*buffer)
		if !ok {
			return t // absent, or not ours: the check of the operation says so
		}
		if open[b] == nil {
			// Of a buffer that was freed, or of another device, nothing is left to see.
			open[b] = reference.NewBuffer(nil)
			if s.device.live[b] {
				if err := b.protect(unix.PROT_READ | unix.PROT_WRITE); err != nil {
					s.failure = err
					return t
				}
				open[b] = reference.NewBuffer(b.pages[:b.bytes:b.bytes])
			}
		}
		t.Buffer = open[b]
		return t
	})
	for b := range open {
		if s.device.live[b] {
			if err := b.protect(unix.PROT_NONE); err != nil && s.failure == nil {
				s.failure = err
			}
		}
	}
}

func (s *stream) Synchronize(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed {
		return errClosed
	}
	b := batch{s.queue, make(chan error, 1)}
	select {
	case s.work <- b:
		s.queue = nil
	case <-ctx.Done(): // an earlier batch still runs
		return ctx.Err()
	}
	select {
	case err := <-b.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stream) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.work <- batch{s.queue, make(chan error, 1)}
	close(s.work)
	<-s.ended
	s.device.mu.Lock()
	s.device.streams--
	s.device.mu.Unlock()
	return s.compute.Close()
}
