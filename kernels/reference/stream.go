package reference

import (
	"context"
	"errors"
	"fmt"

	"ressa/kernels"
)

// stream runs each operation when it is enqueued; err is the first failure.
type stream struct {
	err error
}

var errClosed = errors.New("reference: stream is closed")

func (s *stream) Synchronize(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.err
}

func (s *stream) Close() error {
	if s.err == nil {
		s.err = errClosed
	}
	return nil
}

// begin reports whether an operation may run: the stream has not failed, its
// arguments passed the check, and its operands lie in memory of this backend.
// Absent operands are passed over.
func (s *stream) begin(check error, operands ...kernels.Tensor) bool {
	if s.err != nil {
		return false
	}
	if check != nil {
		s.err = check
		return false
	}
	for _, t := range operands {
		if t.IsZero() {
			continue
		}
		b, ok := t.Buffer.(*buffer)
		if !ok {
			s.err = fmt.Errorf("reference: operand %v lies in a buffer of another device (%T)", t, t.Buffer)
			return false
		}
		if b.mem == nil && b.size > 0 {
			s.err = fmt.Errorf("reference: operand %v lies in a buffer that was freed", t)
			return false
		}
	}
	return true
}

// fail makes err the stream's error.
func (s *stream) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *stream) Upload(dst kernels.Tensor, src []byte) {
	if !s.begin(kernels.CheckUpload(dst, src), dst) {
		return
	}
	n := dst.Cols * dst.DType.Size()
	for i := range dst.Rows {
		copy(rowBytes(dst, i), src[i*n:(i+1)*n])
	}
}

func (s *stream) Download(dst []byte, src kernels.Tensor) {
	if !s.begin(kernels.CheckDownload(dst, src), src) {
		return
	}
	n := src.Cols * src.DType.Size()
	for i := range src.Rows {
		copy(dst[i*n:(i+1)*n], rowBytes(src, i))
	}
}
