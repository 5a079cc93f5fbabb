//go:build unix

package opaque

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"ressa/kernels"
	"ressa/kernels/reference"
)

// Open returns a device whose buffers Go cannot address.
func Open() kernels.Device {
	return &device{compute: reference.Open(), live: map[*buffer]bool{}}
}

// device holds mu while an operation runs.
type device struct {
	compute kernels.Device

	mu      sync.Mutex
	live    map[*buffer]bool
	streams int // open ones
}

// buffer is whole pages of which bytes are used; pages is nil once it was freed.
type buffer struct {
	pages []byte
	bytes int
}

func (b *buffer) Bytes() int { return b.bytes }

// protect sets what the processor lets pass: unix.PROT_NONE, or PROT_READ and
// PROT_WRITE.
func (b *buffer) protect(how int) error {
	if err := unix.Mprotect(b.pages, how); err != nil {
		return fmt.Errorf("opaque: protecting %d bytes: %w", len(b.pages), err)
	}
	return nil
}

func (d *device) Kind() string { return d.compute.Kind() }

func (d *device) Alloc(bytes int) (kernels.Buffer, error) {
	if bytes < 0 {
		return nil, fmt.Errorf("opaque: cannot allocate %d bytes", bytes)
	}
	pages, err := unix.Mmap(-1, 0, max(1, bytes), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("opaque: allocating %d bytes: %w", bytes, err)
	}
	b := &buffer{pages: pages, bytes: bytes}
	d.mu.Lock()
	d.live[b] = true
	d.mu.Unlock()
	return b, nil
}

func (d *device) Free(b kernels.Buffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if own, ok := b.(*buffer); ok && d.live[own] {
		// Unmapping a mapping of ours cannot fail; if it did, the pages would stay
		// out of reach.
		_ = d.release(own)
	}
}

func (d *device) release(b *buffer) error {
	delete(d.live, b)
	pages := b.pages
	b.pages = nil
	return unix.Munmap(pages)
}

func (d *device) NewStream() (kernels.Stream, error) {
	compute, err := d.compute.NewStream()
	if err != nil {
		return nil, err
	}
	s := &stream{device: d, compute: compute, work: make(chan batch), ended: make(chan struct{})}
	d.mu.Lock()
	d.streams++
	d.mu.Unlock()
	go s.serve()
	return s, nil
}

func (d *device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var first error
	if d.streams > 0 {
		first = fmt.Errorf("opaque: %d streams were not closed", d.streams)
	}
	for b := range d.live {
		if err := d.release(b); err != nil && first == nil {
			first = fmt.Errorf("opaque: %w", err)
		}
	}
	return first
}
