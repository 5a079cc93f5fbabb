//go:build cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// memory is a caching allocator's state. Pieces are never divided: models ask for
// the same sizes again and again.
type memory struct {
	live map[*buffer]bool
	free []piece // by size
	Statistics
}

// piece is memory of the driver's.
type piece struct {
	at   driver.Memory
	size int
	// busy are the streams that had work when the piece was freed, and how far they
	// have to be before it may be used again.
	busy []progress
}

type progress struct {
	stream *Stream
	serial uint64
}

// idle reports whether nothing that was enqueued before the piece was freed can
// still use it.
func (p piece) idle() bool {
	for _, b := range p.busy {
		if b.stream.done.Load() < b.serial {
			return false
		}
	}
	return true
}

// buffer is a piece in use.
type buffer struct {
	device *Device
	piece  piece
	bytes  int
	own    bool // of a stream
	freed  atomic.Bool
}

func (b *buffer) Bytes() int { return b.bytes }

// rounded is the size of the piece for a buffer: few sizes, so that pieces fit
// again, at most an eighth more than asked for where it is large.
func (d *Device) rounded(bytes int) int {
	unit := 512
	switch {
	case d.options.Uncached:
		unit = 1
	case bytes >= 16<<20:
		unit = 2 << 20
	case bytes >= 1<<20:
		unit = 128 << 10
	}
	return ceil(max(1, bytes), unit) * unit
}

// Alloc returns zeroed memory, aligned to 256.
func (d *Device) Alloc(bytes int) (kernels.Buffer, error) {
	if bytes < 0 {
		return nil, fmt.Errorf("cuda: cannot allocate %d bytes", bytes)
	}
	b, err := d.allocate(bytes)
	if err != nil {
		return nil, err
	}
	if err := d.zero(b.piece); err != nil {
		d.Free(b)
		return nil, fmt.Errorf("cuda: clear %d new bytes: %w", bytes, err)
	}
	return b, nil
}

// zero clears a piece and waits for it, since any stream may use it next.
func (d *Device) zero(p piece) error {
	d.zeroing.Lock()
	defer d.zeroing.Unlock()
	if err := d.zeroes.Set(p.at, 0, p.size); err != nil {
		return err
	}
	return d.patiently(d.zeroes.Query)
}

// allocateOwn is allocate for what a stream needs itself.
func (d *Device) allocateOwn(bytes int) (*buffer, error) {
	b, err := d.allocate(bytes)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b.own = true
	m := &d.memory
	m.Streams += b.piece.size
	m.PeakStreams = max(m.PeakStreams, m.Streams)
	return b, nil
}

// allocate returns memory with unknown contents.
func (d *Device) allocate(bytes int) (*buffer, error) {
	size := d.rounded(bytes)
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &d.memory
	p, found := m.take(size)
	if !found {
		at, err := d.context.Alloc(size)
		if errors.Is(err, &driver.Error{Code: driver.OutOfMemory}) && len(m.free) > 0 {
			if err := d.returnFree(); err != nil {
				return nil, err
			}
			at, err = d.context.Alloc(size)
		}
		if err != nil {
			return nil, fmt.Errorf("cuda: cannot allocate %d bytes beside %d in use: %w", bytes, m.InUse, err)
		}
		p = piece{at: at, size: size}
		m.Reserved += size
		m.PeakReserved = max(m.PeakReserved, m.Reserved)
	} else {
		m.Reused++
	}
	m.Allocations++
	m.InUse += p.size
	m.PeakInUse = max(m.PeakInUse, m.InUse)
	b := &buffer{device: d, piece: p, bytes: bytes}
	if m.live == nil {
		m.live = map[*buffer]bool{}
	}
	m.live[b] = true
	return b, nil
}

// take removes the smallest idle piece that holds size bytes without wasting more
// than a quarter of them.
func (m *memory) take(size int) (piece, bool) {
	first, _ := slices.BinarySearchFunc(m.free, size, func(p piece, size int) int { return p.size - size })
	for i := first; i < len(m.free) && m.free[i].size <= size+size/4; i++ {
		if p := m.free[i]; p.idle() {
			m.free = slices.Delete(m.free, i, i+1)
			p.busy = nil
			return p, true
		}
	}
	return piece{}, false
}

// Free gives a buffer back; freeing it again does nothing.
func (d *Device) Free(b kernels.Buffer) {
	own, ok := b.(*buffer)
	if !ok || own.device != d {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &d.memory
	if !m.live[own] {
		return
	}
	delete(m.live, own)
	own.freed.Store(true)
	p := own.piece
	m.InUse -= p.size
	if own.own {
		m.Streams -= p.size
	}
	if d.options.Uncached {
		m.Reserved -= p.size
		// It waits for what may use the memory. An error is one of work before it,
		// which its own stream reports.
		_ = d.context.Free(p.at)
		return
	}
	for s := range d.streams {
		if enqueued := s.serial.Load(); s.done.Load() < enqueued {
			p.busy = append(p.busy, progress{s, enqueued})
		}
	}
	at, _ := slices.BinarySearchFunc(m.free, p.size, func(p piece, size int) int { return p.size - size })
	m.free = slices.Insert(m.free, at, p)
}

// returnFree gives the free pieces back to the driver, which waits for what uses them.
func (d *Device) returnFree() error {
	m := &d.memory
	for len(m.free) > 0 {
		p := m.free[len(m.free)-1]
		m.free = m.free[:len(m.free)-1]
		m.Reserved -= p.size
		m.Returned++
		if err := d.context.Free(p.at); err != nil {
			return fmt.Errorf("cuda: return %d bytes to the driver: %w", p.size, err)
		}
	}
	return nil
}

func (d *Device) freeAll() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	errs := []error{}
	for b := range d.memory.live {
		b.freed.Store(true)
		errs = append(errs, d.context.Free(b.piece.at))
	}
	clear(d.memory.live)
	d.memory.InUse, d.memory.Streams = 0, 0
	return errors.Join(append(errs, d.returnFree())...)
}

// mostScratch is what operations of a stream take at most beside their operands:
// panels of effective weights and the parts of a divided product, or the partial
// gradients of adapters, or what attention on tensor cores has rounded. Masked or
// adapted layers of which one side is above 16384 take more, and so does attention in
// bfloat16 whose single sequences are above [scratchLimit].
func (d *Device) mostScratch() int {
	most := max(panelBytes+mostParts, foldBytes)
	if d.options.Compute == kernels.BF16 {
		most = max(most, d.scratchLimit)
	}
	return most
}

// Memory implements [kernels.Measured].
func (d *Device) Memory() (kernels.Memory, error) {
	free, _, err := d.context.MemoryInfo()
	if err != nil {
		return kernels.Memory{}, fmt.Errorf("cuda: ask for free memory: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.memory.Reserved - d.memory.InUse
	return kernels.Memory{Free: free + int64(kept), Stream: int64(d.rounded(d.stagingBytes()) + d.mostScratch())}, nil
}

// Statistics returns the counts of the device's memory.
func (d *Device) Statistics() Statistics {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.memory.Statistics
}
