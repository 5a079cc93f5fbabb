//go:build cgo && linux

package cuda

import (
	"errors"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// ring is pinned memory and its twin on the device, of one size, through which
// transfers go. Copies between the two have queues of their own, one a direction:
// uploads run ahead of the stream's kernels, and kernels do not wait for downloads.
// The stream's own queue reads and writes the twin by the kernel move. A stretch of
// the ring is used again when the host has waited for the last of the two that use it,
// so that queues wait for each other within one transfer only.
type ring struct {
	host    *driver.Host
	twin    *buffer
	in, out driver.Stream
	passed  driver.Event // behind the first half of a transfer: the second waits for it
	next    int          // where the next segment begins
	used    []segment    // oldest first
	events  []driver.Event
}

// segment is a part of the ring whose transfer may not have run.
type segment struct {
	from, to int
	event    driver.Event // behind the second half
	serial   uint64       // of the launch of move
	out      []byte       // where a download goes
}

// open allocates the ring at the first transfer.
func (r *ring) open(d *Device) (err error) {
	if r.host != nil {
		return nil
	}
	if r.in == (driver.Stream{}) {
		if r.in, err = d.context.NewStream(); err != nil {
			return err
		}
	}
	if r.out == (driver.Stream{}) {
		if r.out, err = d.context.NewStream(); err != nil {
			return err
		}
	}
	if r.passed == (driver.Event{}) {
		if r.passed, err = d.context.NewEvent(false); err != nil {
			return err
		}
	}
	size := d.stagingBytes()
	if r.twin == nil {
		if r.twin, err = d.allocateOwn(size); err != nil {
			return err
		}
	}
	r.host, err = d.context.AllocHost(size)
	return err
}

// stagingBytes is the size of a stream's ring.
func (d *Device) stagingBytes() int { return ceil(d.options.Staging, 1024) * 1024 }

// drained reports whether all copies have run.
func (r *ring) drained() (bool, error) {
	if r.host == nil {
		return true, nil
	}
	for _, q := range []driver.Stream{r.in, r.out} {
		if done, err := q.Query(); !done || err != nil {
			return false, err
		}
	}
	return true, nil
}

// mostSegments is how many transfers may be on their way.
const mostSegments = 256

// largest is the most that one segment holds, so that several overlap.
func (r *ring) largest() int { return len(r.host.Bytes()) / 4 }

// reserve returns where n bytes are free, after waiting for older segments there.
func (r *ring) reserve(d *Device, n int) (int, error) {
	if r.next+n > len(r.host.Bytes()) {
		r.next = 0
	}
	from, to := r.next, r.next+n
	for len(r.used) >= mostSegments || r.overlaps(from, to) {
		oldest := r.used[0]
		if err := d.patiently(oldest.event.Query); err != nil {
			return 0, err
		}
		r.retire(oldest, true)
	}
	r.next = ceil(to, 256) * 256
	return from, nil
}

func (r *ring) overlaps(from, to int) bool {
	for _, s := range r.used {
		if s.from < to && from < s.to {
			return true
		}
	}
	return false
}

// retire ends the oldest segment, whose transfer has run.
func (r *ring) retire(s segment, deliver bool) {
	if deliver {
		copy(s.out, r.host.Bytes()[s.from:s.to])
	}
	r.events = append(r.events, s.event)
	r.used = r.used[1:]
}

// deliver ends all segments, whose transfers have run, and writes the downloads among them
// that came before a launch.
func (r *ring) deliver(before uint64) {
	for len(r.used) > 0 {
		r.retire(r.used[0], r.used[0].serial < before)
	}
	r.used = nil
}

// hold keeps [from, to) until what is in the queue has run.
func (s *Stream) hold(from, to int, behind driver.Stream, out []byte) error {
	r := &s.staging
	var e driver.Event
	if n := len(r.events); n > 0 {
		e, r.events = r.events[n-1], r.events[:n-1]
	} else {
		var err error
		if e, err = s.device.context.NewEvent(false); err != nil {
			return err
		}
	}
	r.used = append(r.used, segment{from, to, e, s.serial.Load(), out})
	return behind.Record(e)
}

func (r *ring) release(d *Device) error {
	var errs []error
	for _, s := range r.used {
		errs = append(errs, s.event.Destroy())
	}
	for _, e := range r.events {
		errs = append(errs, e.Destroy())
	}
	for _, q := range []driver.Stream{r.in, r.out} {
		if q != (driver.Stream{}) {
			errs = append(errs, q.Destroy())
		}
	}
	if r.passed != (driver.Event{}) {
		errs = append(errs, r.passed.Destroy())
	}
	if r.host != nil {
		errs = append(errs, d.context.FreeHost(r.host))
	}
	if r.twin != nil {
		d.Free(r.twin)
	}
	return errors.Join(errs...)
}

// pass makes what is enqueued to one queue wait for what is in the other.
func (r *ring) pass(from, to driver.Stream) error {
	if err := from.Record(r.passed); err != nil {
		return err
	}
	return to.Wait(r.passed)
}

// Upload copies src, rows without padding, into dst. src is free when it returns.
func (s *Stream) Upload(dst kernels.Tensor, src []byte) {
	s.fail(kernels.CheckUpload(dst, src))
	s.transfer("upload", dst, src, func(a *moveArgs, part []byte, at int) error {
		r := &s.staging
		copy(r.host.Bytes()[at:], part)
		if err := r.in.CopyToDevice(r.twin.piece.at+driver.Memory(at), r.host, at, len(part)); err != nil {
			return err
		}
		if err := r.pass(r.in, s.queue); err != nil {
			return err
		}
		launch(s, "move", tiles(1, int(a.count)), a)
		if s.err != nil {
			return s.err
		}
		return s.hold(at, at+len(part), s.queue, nil)
	})
}

// Download copies src, rows without padding, into dst, by the next Synchronize.
func (s *Stream) Download(dst []byte, src kernels.Tensor) {
	s.fail(kernels.CheckDownload(dst, src))
	s.transfer("download", src, dst, func(a *moveArgs, part []byte, at int) error {
		r := &s.staging
		a.pack = 1
		launch(s, "move", tiles(1, int(a.count)), a)
		if s.err != nil {
			return s.err
		}
		if err := r.pass(s.queue, r.out); err != nil {
			return err
		}
		if err := r.out.CopyToHost(r.host, at, r.twin.piece.at+driver.Memory(at), len(part)); err != nil {
			return err
		}
		return s.hold(at, at+len(part), r.out, part)
	})
}

// transfer calls part for each stretch of the host's memory that fits a segment,
// which begins at that byte of the ring.
func (s *Stream) transfer(op string, t kernels.Tensor, host []byte, part func(a *moveArgs, host []byte, at int) error) {
	v := s.view(op, "tensor", t)
	if s.err != nil || len(host) == 0 {
		return
	}
	if err := s.staging.open(s.device); err != nil {
		s.fail(err)
		return
	}
	flatten(&v)
	size := t.DType.Size()
	for lo := 0; lo < len(host) && s.err == nil; {
		n := min(s.staging.largest(), len(host)-lo)
		at, err := s.staging.reserve(s.device, n)
		if err != nil {
			s.fail(err)
			return
		}
		a := &moveArgs{tensor: v, packed: uint64(s.staging.twin.piece.at) + uint64(at), first: int64(lo / size), count: int64(n / size)}
		s.fail(part(a, host[lo:lo+n], at))
		lo += n
	}
}
