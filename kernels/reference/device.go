package reference

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"ressa/kernels"
)

// Kind is the numeric kind of this backend: Go fuses products on some
// architectures.
const Kind = "reference-" + runtime.GOARCH + "/1"

// Open returns a device whose memory is Go memory.
func Open() kernels.Device { return &device{live: map[*buffer]bool{}} }

type device struct {
	mu   sync.Mutex
	live map[*buffer]bool
}

// buffer is a piece of memory; mem is nil once it was freed.
type buffer struct {
	mem  []byte
	size int
}

func (b *buffer) Bytes() int { return b.size }

// NewBuffer returns a buffer over memory that the caller owns, aligned to 8
// bytes. It serves backends that place their memory themselves and compute with
// this one; it belongs to no device and is not freed.
func NewBuffer(mem []byte) kernels.Buffer { return &buffer{mem: mem, size: len(mem)} }

func (d *device) Kind() string { return Kind }

func (d *device) Alloc(bytes int) (kernels.Buffer, error) {
	if bytes < 0 {
		return nil, fmt.Errorf("reference: cannot allocate %d bytes", bytes)
	}
	const align = 64
	// One more byte than asked for, so that an empty buffer has memory too.
	raw := make([]byte, bytes+align)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) % align)
	b := &buffer{mem: raw[skip : skip+bytes : skip+bytes], size: bytes}
	d.mu.Lock()
	d.live[b] = true
	d.mu.Unlock()
	return b, nil
}

func (d *device) Free(b kernels.Buffer) {
	own, ok := b.(*buffer)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live[own] {
		delete(d.live, own)
		own.mem = nil
	}
}

func (d *device) NewStream() (kernels.Stream, error) { return &stream{}, nil }

func (d *device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for b := range d.live {
		b.mem = nil
	}
	clear(d.live)
	return nil
}
