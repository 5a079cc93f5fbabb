package model

import (
	"fmt"
	"slices"

	"ressa/kernels"
)

// Pool hands out device memory for one stream, as pieces of large segments: since
// the stream runs in order, memory may be handed out again as soon as its last use
// is enqueued. A request takes the smallest gap that it fits into, the lowest of
// equal ones, and the end of a segment only where no gap does. So what a sequence
// of requests takes is a function of the sequence: [Pool.Reserve] of what it took
// once holds it again, without an allocation.
type Pool struct {
	device   kernels.Device
	segments []*segment
	inUse    int   // bytes handed out
	peak     int   // highest inUse
	err      error // first allocation failure
	host     host
}

// segment is one buffer of the device, cut into blocks. The last one is its end,
// always free, and may be empty.
type segment struct {
	buffer kernels.Buffer
	blocks []block // in ascending order; no two free ones side by side
	extent int     // the highest byte that was handed out
}

type block struct {
	at, size int
	free     bool
}

const (
	// quantum is what pieces are multiples of: every device's alignment divides it.
	quantum = 256
	// leastSegment is allocated at least, where nothing was reserved.
	leastSegment = 1 << 20
)

// NewPool returns an empty pool on d.
func NewPool(d kernels.Device) *Pool { return &Pool{device: d} }

// PoolBytes returns what a pool takes for a tensor of so many bytes.
func PoolBytes(bytes int) int { return max(quantum, (bytes+quantum-1)/quantum*quantum) }

// Get returns a tensor with undefined contents. When the device has no memory
// left it returns a tensor over an empty buffer, which makes the next operation
// on it fail, and Err tells why.
func (p *Pool) Get(d kernels.DType, rows, cols int) kernels.Tensor {
	size := PoolBytes(rows * cols * d.Size())
	s, i := p.fit(size)
	if s == nil {
		if s = p.grow(size); s == nil {
			return kernels.NewTensor(emptyBuffer{}, d, rows, cols)
		}
		i = 0
	}
	at := s.take(i, size)
	p.inUse += size
	p.peak = max(p.peak, p.inUse)
	t := kernels.NewTensor(s.buffer, d, rows, cols)
	t.Offset = at / d.Size()
	return t
}

// fit returns where a piece of this size goes, nil where none is free.
func (p *Pool) fit(size int) (in *segment, at int) {
	best, ends := 0, false
	for _, s := range p.segments {
		for i, b := range s.blocks {
			end := i == len(s.blocks)-1
			if b.free && b.size >= size && (in == nil || ends && !end || ends == end && b.size < best) {
				in, at, best, ends = s, i, b.size, end
			}
		}
	}
	return in, at
}

// take cuts a piece off the front of block i, which is free.
func (s *segment) take(i, size int) (at int) {
	b := &s.blocks[i]
	at = b.at
	s.extent = max(s.extent, at+size)
	if rest := b.size - size; rest == 0 && i < len(s.blocks)-1 {
		b.free = false
		return at
	}
	b.at, b.size = at+size, b.size-size
	s.blocks = slices.Insert(s.blocks, i, block{at: at, size: size})
	return at
}

// grow allocates a segment for a piece of this size, nil where there is no memory.
func (p *Pool) grow(size int) *segment {
	// A quarter of what there is bounds the number of segments.
	s, err := p.segment(max(size, leastSegment, p.Held()/4/quantum*quantum))
	if err != nil {
		if s, err = p.segment(size); err != nil {
			p.err = firstOf(p.err, err)
			return nil
		}
	}
	return s
}

func (p *Pool) segment(bytes int) (*segment, error) {
	b, err := p.device.Alloc(bytes)
	if err != nil {
		return nil, err
	}
	s := &segment{buffer: b, blocks: []block{{size: bytes, free: true}}}
	p.segments = append(p.segments, s)
	return s, nil
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Put takes back a tensor that Get returned, whole or as a view. The absent
// tensor is ignored; one that was taken back already is a mistake of the caller.
func (p *Pool) Put(t kernels.Tensor) {
	if t.IsZero() || t.Buffer == (emptyBuffer{}) {
		return
	}
	n := slices.IndexFunc(p.segments, func(s *segment) bool { return s.buffer == t.Buffer })
	if n < 0 {
		panic(fmt.Sprintf("model: %v is not of this pool", t))
	}
	s := p.segments[n]
	i, _ := slices.BinarySearchFunc(s.blocks, t.Offset*t.DType.Size(), func(b block, at int) int {
		if b.at+b.size <= at {
			return -1
		}
		if b.at > at {
			return 1
		}
		return 0
	})
	if i >= len(s.blocks)-1 || s.blocks[i].free {
		panic(fmt.Sprintf("model: %v was given back twice", t))
	}
	p.inUse -= s.blocks[i].size
	s.give(i)
}

// give joins block i with the free ones beside it.
func (s *segment) give(i int) {
	lo, hi := i, i+1
	if i > 0 && s.blocks[i-1].free {
		lo--
	}
	if s.blocks[hi].free {
		hi++
	}
	joined := block{at: s.blocks[lo].at, free: true}
	for _, b := range s.blocks[lo:hi] {
		joined.size += b.size
	}
	s.blocks = slices.Replace(s.blocks, lo, hi, joined)
}

// Reserve makes one segment of at least so many bytes of what the pool holds, while
// nothing is handed out. Where there is no memory for it, the pool stays empty and
// grows as it is used.
func (p *Pool) Reserve(bytes int) {
	if p.inUse > 0 || len(p.segments) == 1 && p.Held() >= bytes {
		return
	}
	bytes = PoolBytes(max(bytes, p.Extent()))
	p.free()
	_, _ = p.segment(bytes)
}

// Settle makes one segment of several, so that the same requests fit again.
func (p *Pool) Settle() {
	if len(p.segments) > 1 {
		p.Reserve(p.Held())
	}
}

// Trim gives back what the pool holds, while nothing is handed out. The stream must be
// synchronised.
func (p *Pool) Trim() {
	if p.inUse == 0 {
		p.free()
	}
}

// Peak returns the highest number of bytes that were handed out at once.
func (p *Pool) Peak() int { return p.peak }

// InUse returns the number of bytes that are handed out.
func (p *Pool) InUse() int { return p.inUse }

// Held returns the number of bytes allocated from the device.
func (p *Pool) Held() (bytes int) {
	for _, s := range p.segments {
		bytes += s.buffer.Bytes()
	}
	return bytes
}

// Extent returns the bytes up to the highest one handed out: what the requests so
// far take in one segment.
func (p *Pool) Extent() (bytes int) {
	for _, s := range p.segments {
		bytes += s.extent
	}
	return bytes
}

// Err returns the first failure to allocate.
func (p *Pool) Err() error { return p.err }

// Close frees the memory; what is still handed out is not to be used.
func (p *Pool) Close() { p.free() }

func (p *Pool) free() {
	for _, s := range p.segments {
		p.device.Free(s.buffer)
	}
	p.segments = nil
}

type emptyBuffer struct{}

func (emptyBuffer) Bytes() int { return 0 }
