package safetensors

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// ErrNoTensor is returned when a file or folder holds no tensor of a name.
var ErrNoTensor = errors.New("no such tensor")

// ErrClosed is returned for what is asked of a closed file.
var ErrClosed = errors.New("file is closed")

// Tensor is one stored tensor: its bytes little-endian, row-major.
type Tensor struct {
	DType DType
	Shape []int
	// Path is that of the file that the tensor comes from, for errors; empty for one
	// that was made in memory.
	Path string
	// Data is a view of the mapped file where the tensor comes from one: it must
	// not be written to, nor used after the file is closed.
	Data []byte
}

// Len returns the number of elements.
func (t Tensor) Len() int {
	if t.DType.Size() == 0 {
		return 0
	}
	return len(t.Data) / t.DType.Size()
}

// File is an open, checked safetensors file. Its methods are safe for
// concurrent use; Close must come after the last use of any tensor's Data. A
// mapped file that another process truncates ends the program with SIGBUS, so
// nobody may change files in place: every writer of Ressa replaces them.
type File struct {
	path   string
	header *header
	names  []string

	mu    sync.RWMutex
	bytes []byte
	unmap func() error
}

// Open maps the file at path and checks it completely but for the values.
func Open(path string) (*File, error) {
	bytes, unmap, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("open safetensors: %w", err)
	}
	h, err := parseHeader(bytes)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), unmap())
	}
	return &File{path: path, header: h, names: slices.Sorted(maps.Keys(h.spans)), bytes: bytes, unmap: unmap}, nil
}

// Path returns the path that the file was opened by.
func (f *File) Path() string { return f.path }

// Names returns the names of all tensors, sorted.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Metadata returns a copy of the header's metadata, empty where it has none.
func (f *File) Metadata() map[string]string {
	if f.header.metadata == nil {
		return map[string]string{}
	}
	return maps.Clone(f.header.metadata)
}

// Has reports whether the file holds a tensor of that name.
func (f *File) Has(name string) bool {
	_, ok := f.header.spans[name]
	return ok
}

// Tensor returns the tensor of that name, its data being a view of the file.
// The error is ErrNoTensor or ErrClosed.
func (f *File) Tensor(name string) (Tensor, error) {
	s, ok := f.header.spans[name]
	if !ok {
		return Tensor{}, fmt.Errorf("%s: tensor %q: %w", f.path, name, ErrNoTensor)
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.bytes == nil {
		return Tensor{}, fmt.Errorf("%s: tensor %q: %w", f.path, name, ErrClosed)
	}
	begin, end := f.header.data+s.begin, f.header.data+s.end
	return Tensor{DType: s.dtype, Shape: slices.Clone(s.shape), Path: f.path, Data: f.bytes[begin:end:end]}, nil
}

// Size returns the bytes of the whole file.
func (f *File) Size() int64 {
	end := 0
	for _, s := range f.header.spans {
		end = max(end, s.end)
	}
	return int64(f.header.data + end)
}

// SHA256 returns the hash of the whole file in hexadecimal.
func (f *File) SHA256(ctx context.Context) (string, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.bytes == nil {
		return "", fmt.Errorf("%s: %w", f.path, ErrClosed)
	}
	h := sha256.New()
	if err := writeChunks(ctx, h, f.bytes); err != nil {
		return "", fmt.Errorf("%s: %w", f.path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Close unmaps the file. It may be called twice.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bytes == nil {
		return nil
	}
	f.bytes = nil
	return f.unmap()
}
