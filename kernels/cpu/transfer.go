//go:build cgo

package cpu

import (
	"unsafe"

	"ressa/kernels"
)

// Upload copies src, rows without padding, into dst.
func (s *stream) Upload(dst kernels.Tensor, src []byte) {
	s.fail(kernels.CheckUpload(dst, src))
	s.transfer("upload", dst, src, func(device, host []byte) { copy(device, host) })
}

// Download copies src into dst, rows without padding.
func (s *stream) Download(dst []byte, src kernels.Tensor) {
	s.fail(kernels.CheckDownload(dst, src))
	s.transfer("download", src, dst, func(device, host []byte) { copy(host, device) })
}

// transfer calls move with each stretch of t that is contiguous on both sides.
func (s *stream) transfer(op string, t kernels.Tensor, host []byte, move func(device, host []byte)) {
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
