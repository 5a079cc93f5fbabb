//go:build cgo && linux

package driver

// #include "libcuda.h"
import "C"

import (
	"errors"
	"unsafe"
)

// Stream is a queue of work for the GPU. It does not wait for the default stream.
type Stream struct {
	c      *Context
	handle unsafe.Pointer
}

// nonBlocking is CU_STREAM_NON_BLOCKING.
const nonBlocking = 1

// NewStream returns an empty stream.
func (c *Context) NewStream() (Stream, error) {
	s := Stream{c: c}
	err := c.l.check("cuStreamCreate", C.call_cuStreamCreate(c.l.c, c.current, &s.handle, nonBlocking))
	return s, err
}

// Destroy releases the stream; what is in it still runs.
func (s Stream) Destroy() error {
	return s.c.l.check("cuStreamDestroy_v2", C.call_cuStreamDestroy_v2(s.c.l.c, s.c.current, s.handle))
}

// Synchronize waits until all that is in the stream has run.
func (s Stream) Synchronize() error {
	return s.c.l.check("cuStreamSynchronize", C.call_cuStreamSynchronize(s.c.l.c, s.c.current, s.handle))
}

// Query reports whether all that is in the stream has run.
func (s Stream) Query() (bool, error) {
	return ready(s.c.l.check("cuStreamQuery", C.call_cuStreamQuery(s.c.l.c, s.c.current, s.handle)))
}

func ready(err error) (bool, error) {
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == NotReady {
		return false, nil
	}
	return err == nil, err
}

// CopyToDevice enqueues a copy of n bytes from offset of h, which must not be
// touched before the copy has run.
func (s Stream) CopyToDevice(to Memory, h *Host, offset, n int) error {
	from := unsafe.Pointer(&h.bytes[offset : offset+n][0])
	return s.c.l.check("cuMemcpyHtoDAsync_v2", C.call_cuMemcpyHtoDAsync_v2(s.c.l.c, s.c.current, C.uint64_t(to), from, C.size_t(n), s.handle))
}

// CopyToHost enqueues a copy of n bytes to offset of h, where they are once the copy
// has run.
func (s Stream) CopyToHost(h *Host, offset int, from Memory, n int) error {
	to := unsafe.Pointer(&h.bytes[offset : offset+n][0])
	return s.c.l.check("cuMemcpyDtoHAsync_v2", C.call_cuMemcpyDtoHAsync_v2(s.c.l.c, s.c.current, to, C.uint64_t(from), C.size_t(n), s.handle))
}

// Copy enqueues a copy of n bytes within the GPU's memory.
func (s Stream) Copy(to, from Memory, n int) error {
	return s.c.l.check("cuMemcpyDtoDAsync_v2", C.call_cuMemcpyDtoDAsync_v2(s.c.l.c, s.c.current, C.uint64_t(to), C.uint64_t(from), C.size_t(n), s.handle))
}

// Set enqueues filling n bytes with value.
func (s Stream) Set(to Memory, value byte, n int) error {
	return s.c.l.check("cuMemsetD8Async", C.call_cuMemsetD8Async(s.c.l.c, s.c.current, C.uint64_t(to), C.uchar(value), C.size_t(n), s.handle))
}

// Wait makes what is enqueued from now on wait for e as it was last recorded.
func (s Stream) Wait(e Event) error {
	return s.c.l.check("cuStreamWaitEvent", C.call_cuStreamWaitEvent(s.c.l.c, s.c.current, s.handle, e.handle, 0))
}

// Record sets e to the work that is in the stream now.
func (s Stream) Record(e Event) error {
	return s.c.l.check("cuEventRecord", C.call_cuEventRecord(s.c.l.c, s.c.current, e.handle, s.handle))
}

// Event is a point in a stream.
type Event struct {
	c      *Context
	handle unsafe.Pointer
}

// NewEvent returns an event that counts as complete until it is recorded. Only a
// timed one can be measured by Since; others cost less.
func (c *Context) NewEvent(timed bool) (Event, error) {
	flags := C.uint(2) // CU_EVENT_DISABLE_TIMING
	if timed {
		flags = 0
	}
	e := Event{c: c}
	err := c.l.check("cuEventCreate", C.call_cuEventCreate(c.l.c, c.current, &e.handle, flags))
	return e, err
}

// Destroy releases the event.
func (e Event) Destroy() error {
	return e.c.l.check("cuEventDestroy_v2", C.call_cuEventDestroy_v2(e.c.l.c, e.c.current, e.handle))
}

// Query reports whether the work that the event stands for has run.
func (e Event) Query() (bool, error) {
	return ready(e.c.l.check("cuEventQuery", C.call_cuEventQuery(e.c.l.c, e.c.current, e.handle)))
}

// Synchronize waits for that work.
func (e Event) Synchronize() error {
	return e.c.l.check("cuEventSynchronize", C.call_cuEventSynchronize(e.c.l.c, e.c.current, e.handle))
}

// Since returns the milliseconds of the GPU's clock from start to e, both complete.
func (e Event) Since(start Event) (float32, error) {
	var ms C.float
	err := e.c.l.check("cuEventElapsedTime", C.call_cuEventElapsedTime(e.c.l.c, e.c.current, &ms, start.handle, e.handle))
	return float32(ms), err
}
