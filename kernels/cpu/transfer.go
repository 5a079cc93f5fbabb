//go:build cgo

package cpu

import (
	"fmt"
	"unsafe"

	"ressa/kernels"
)

// Upload copies src, rows without padding, into dst.
func (s *stream) Upload(dst kernels.Tensor, src []byte) {
	s.transfer("upload", dst, src, func(device, host []byte) { copy(device, host) })
}

// Download copies src into dst, rows without padding.
func (s *stream) Download(dst []byte, src kernels.Tensor) {
	s.transfer("download", src, dst, func(device, host []byte) { copy(host, device) })
}

// transfer calls move with each stretch of t that is contiguous on both sides.
func (s *stream) transfer(op string, t kernels.Tensor, host []byte, move func(device, host []byte)) {
	if len(host) != t.Bytes() {
		s.fail(fmt.Errorf("%s: %d host bytes for %v, want %d", op, len(host), t, t.Bytes()))
	}
	m := s.mat(op, "tensor", t, -1, -1, anyType)
	if s.err != nil || len(host) == 0 {
		return
	}
	if t.Dense() {
		move(unsafe.Slice((*byte)(m.data), len(host)), host)
		return
	}
	row, pitch := t.Cols*t.DType.Size(), t.Stride*t.DType.Size()
	for r := range t.Rows {
		move(unsafe.Slice((*byte)(unsafe.Add(m.data, r*pitch)), row), host[r*row:][:row])
	}
}
