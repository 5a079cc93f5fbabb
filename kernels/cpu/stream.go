//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"context"
	"fmt"
	"unsafe"

	"ressa/kernels"
)

// argsBytes is the room for one operation's argument struct.
const argsBytes = 4096

// parallelWork is the number of elementary operations (a multiply-add, an
// element moved) from which waking another thread pays.
const parallelWork = 1 << 17

// stream runs each operation before the call returns.
type stream struct {
	device  *device
	table   *C.struct_rk_table
	err     error
	args    unsafe.Pointer // an int64 task counter, then the argument struct
	own     scratch        // of the calling goroutine
	common  scratch        // of the whole operation
	bias    scratch        // a bias as floats
	job     job
	helpers []*worker
}

// arguments returns the zeroed argument struct of the next operation, in C memory.
func arguments[T any](s *stream) *T {
	var zero T
	if s.args == nil { // closed: nothing will run
		return new(T)
	}
	a := (*T)(unsafe.Add(s.args, 64))
	if unsafe.Sizeof(zero) > argsBytes-64 {
		panic("cpu: argument struct is too large")
	}
	*a = zero
	return a
}

// run runs tasks 0 … tasks−1 of an operation on the argument struct last
// returned by arguments. Each thread gets scratchBytes of memory of its own.
// work is the whole operation's number of elementary operations; small ones run
// in the calling goroutine alone.
func (s *stream) run(fn C.rk_task, tasks, scratchBytes, work int) {
	if s.err != nil || tasks <= 0 {
		return
	}
	mem, err := s.own.atLeast(scratchBytes)
	if err != nil {
		s.err = err
		return
	}
	args := unsafe.Add(s.args, 64)
	if tasks == 1 || work < s.device.parallel || s.device.threads == 1 {
		C.rk_run(fn, args, C.int64_t(tasks), mem)
		return
	}
	next := (*C.int64_t)(s.args)
	*next = 0
	s.job.fn, s.job.args, s.job.next, s.job.tasks, s.job.scratch = fn, args, next, tasks, scratchBytes
	s.helpers = s.device.pool.take(s.helpers[:0], min(s.device.threads, tasks)-1)
	for _, w := range s.helpers {
		w.post(&s.job)
	}
	C.rk_run_shared(fn, args, C.int64_t(tasks), next, mem)
	for _, w := range s.helpers {
		if !w.cancel(&s.job) {
			s.job.awaitOne()
		}
	}
}

// shared returns memory that all tasks of the next run see.
func (s *stream) shared(bytes int) unsafe.Pointer {
	mem, err := s.common.atLeast(bytes)
	if err != nil && s.err == nil {
		s.err = err
	}
	return mem
}

// fail keeps the stream's first error.
func (s *stream) fail(err error) {
	if err != nil && s.err == nil {
		s.err = err
	}
}

// Synchronize has nothing to wait for.
func (s *stream) Synchronize(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	return ctx.Err()
}

func (s *stream) Close() error {
	C.rk_free(s.args)
	s.args = nil
	s.own.free()
	s.common.free()
	s.bias.free()
	s.fail(errClosed)
	return nil
}

// dtypes is a set of storage types: bit d stands for kernels.DType d.
type dtypes uint8

const (
	f32     dtypes = 1 << kernels.F32
	bf16    dtypes = 1 << kernels.BF16
	f64     dtypes = 1 << kernels.F64
	i32     dtypes = 1 << kernels.I32
	u64     dtypes = 1 << kernels.U64
	anyType        = f32 | bf16 | f64 | i32 | u64
)

func (d dtypes) String() string {
	text := ""
	for k := kernels.F32; k <= kernels.U64; k++ {
		if d&(1<<k) != 0 {
			if text != "" {
				text += " or "
			}
			text += k.String()
		}
	}
	return text
}

// mat returns what C sees of t. It fails the stream when t is not a tensor of
// this device and of one of the dtypes, or not rows × cols (−1: any number).
func (s *stream) mat(op, name string, t kernels.Tensor, rows, cols int, want dtypes) C.struct_rk_mat {
	b, ok := t.Buffer.(*buffer)
	switch {
	case s.err != nil:
	case t.IsZero():
		s.err = fmt.Errorf("%s: %s is absent", op, name)
	case !ok || b.device != s.device:
		s.err = fmt.Errorf("%s: %s lies in memory of another device (%T)", op, name, t.Buffer)
	case b.data == nil:
		s.err = fmt.Errorf("%s: %s lies in a buffer that was freed", op, name)
	case want&(1<<t.DType) == 0:
		s.err = fmt.Errorf("%s: %s is %v, want %v", op, name, t.DType, want)
	case (rows >= 0 && t.Rows != rows) || (cols >= 0 && t.Cols != cols):
		s.err = fmt.Errorf("%s: %s is (%d, %d), want (%s, %s)", op, name, t.Rows, t.Cols, size(rows), size(cols))
	case t.Rows < 0 || t.Cols < 0 || t.Offset < 0 || t.Rows > 1 && t.Stride < t.Cols:
		s.err = fmt.Errorf("%s: %s has a bad view: %v at %d", op, name, t, t.Offset)
	case t.Rows > 0 && t.Cols > 0 && (t.Offset+(t.Rows-1)*t.Stride+t.Cols)*t.DType.Size() > b.bytes:
		s.err = fmt.Errorf("%s: %s ends at byte %d of a buffer of %d", op, name,
			(t.Offset+(t.Rows-1)*t.Stride+t.Cols)*t.DType.Size(), b.bytes)
	default:
		return C.struct_rk_mat{
			data: unsafe.Add(b.data, t.Offset*t.DType.Size()), dtype: C.int32_t(t.DType),
			rows: C.int64_t(t.Rows), cols: C.int64_t(t.Cols), stride: C.int64_t(t.Stride),
		}
	}
	return C.struct_rk_mat{}
}

// optional is mat for a tensor that may be absent: data is then nil.
func (s *stream) optional(op, name string, t kernels.Tensor, rows, cols int, want dtypes) C.struct_rk_mat {
	if t.IsZero() {
		return C.struct_rk_mat{}
	}
	return s.mat(op, name, t, rows, cols, want)
}

func size(n int) string {
	if n < 0 {
		return "any"
	}
	return fmt.Sprint(n)
}
