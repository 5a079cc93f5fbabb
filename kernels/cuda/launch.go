//go:build cgo && linux

package cuda

import (
	"fmt"
	"math"
	"unsafe"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// head is struct head of device.cuh, which every argument struct begins with.
type head struct {
	fault  uint64
	serial uint64
}

func (h *head) begins() *head { return h }

// view is struct view of device.cuh; all zero stands for an absent tensor.
type view struct {
	data               uint64
	rows, cols, stride int64
	dtype, _           int32
}

// dense reports whether rows follow each other without a gap.
func (v view) dense() bool { return v.data == 0 || v.rows <= 1 || v.stride == v.cols }

// flatten sees tensors of one shape as one row, where all are dense.
func flatten(views ...*view) {
	for _, v := range views {
		if !v.dense() {
			return
		}
	}
	for _, v := range views {
		v.rows, v.cols, v.stride = min(1, v.rows), v.rows*v.cols, v.rows*v.cols
	}
}

// threads and tile are THREADS and TILE of grid.cuh.
const (
	threads = 256
	tile    = 1024
)

// ceil is n / by, rounded up.
func ceil[T int | int64](n, by T) T { return (n + by - 1) / by }

// tiles is how many blocks an elementwise kernel needs.
func tiles(rows, cols int) int { return rows * ceil(cols, tile) }

// argument is a pointer to an argument struct.
type argument[T any] interface {
	*T
	begins() *head
}

// launch enqueues a kernel in so many blocks of threads threads; none is no launch.
func launch[T any, A argument[T]](s *Stream, name string, blocks int, a A) {
	launchWith(s, name, driver.Dim{uint32(blocks), 1, 1}, threads, 0, blocks, a)
}

// launchWith also says how many threads a block has and how much dynamic shared
// memory; blocks is the product of grid.
func launchWith[T any, A argument[T]](s *Stream, name string, grid driver.Dim, threads, shared, blocks int, a A) {
	if s.err != nil || blocks == 0 {
		return
	}
	if blocks > math.MaxInt32 {
		s.fail(fmt.Errorf("cuda: kernel %s would need %d blocks, more than a GPU can count", name, blocks))
		return
	}
	f, err := s.device.kernel(name, shared)
	if err != nil {
		s.fail(fmt.Errorf("cuda: %w", err))
		return
	}
	*a.begins() = head{fault: uint64(s.fault.piece.at), serial: s.serial.Load() + 1}
	if err := s.queue.Launch(f, grid, driver.Dim{uint32(threads), 1, 1}, shared, unsafe.Pointer(a), unsafe.Sizeof(*a)); err != nil {
		s.fail(fmt.Errorf("cuda: launch %s: %w", name, err))
		return
	}
	s.enqueued()
}

// view returns what kernels see of t, whose shape was checked. The stream fails
// where t lies in other memory than this device's.
func (s *Stream) view(op, name string, t kernels.Tensor) view {
	if s.err != nil {
		return view{}
	}
	b, ok := t.Buffer.(*buffer)
	if !ok || b.device != s.device {
		s.fail(fmt.Errorf("%s: %s lies in memory of another device (%T)", op, name, t.Buffer))
		return view{}
	}
	if b.freed.Load() {
		s.fail(fmt.Errorf("%s: %s lies in a buffer that was freed", op, name))
		return view{}
	}
	return view{
		data: uint64(b.piece.at) + uint64(t.Offset*t.DType.Size()), dtype: int32(t.DType),
		rows: int64(t.Rows), cols: int64(t.Cols), stride: int64(t.Stride),
	}
}

// optional is view of a tensor that may be absent.
func (s *Stream) optional(op, name string, t kernels.Tensor) view {
	if t.IsZero() {
		return view{}
	}
	return s.view(op, name, t)
}

// flag is what kernels see of a bool.
func flag(v bool) int32 {
	if v {
		return 1
	}
	return 0
}

// temporary returns scratch of at least so many bytes, for launches of this stream
// from now to the next call.
func (s *Stream) temporary(bytes int) uint64 {
	if s.err != nil {
		return 0
	}
	if s.scratch == nil || s.scratch.piece.size < bytes {
		if s.scratch != nil {
			s.device.Free(s.scratch) // kept until what uses it has run
			s.scratch = nil
		}
		b, err := s.device.allocateOwn(bytes)
		if err != nil {
			s.fail(err)
			return 0
		}
		s.scratch = b
	}
	return uint64(s.scratch.piece.at)
}
