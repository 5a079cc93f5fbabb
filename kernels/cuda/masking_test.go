//go:build cgo && linux

package cuda

import (
	"bytes"
	"encoding/binary"
	"testing"

	"ressa/kernels"
)

// The error has the words of CheckKept, and nothing was written: neither where more is
// kept than there is room for, nor where less is.
func TestWrongCountsAreReported(t *testing.T) {
	for want, packed := range map[string]int{
		"pack kept: the mask keeps 5 elements, want 4": 4,
		"pack kept: the mask keeps 5 elements, want 6": 6,
	} {
		d, s := opened(t, onDevice(t))
		mask := kernels.NewTensor(alloc(t, d, 8*2), kernels.U64, 2, 1)
		s.Upload(mask, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 0b1011), 0b10_0010))
		src, dst := kernels.NewTensor(alloc(t, d, 4*12), kernels.F32, 2, 6), kernels.NewTensor(alloc(t, d, 4*packed), kernels.F32, 1, packed)
		s.Fill(src, 2)
		s.PackKept(dst, src, mask)
		s.Fill(src, 3)
		if err := s.Synchronize(t.Context()); err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
		other, got := openStream(t, d), make([]byte, 4*packed)
		other.Download(got, dst)
		if err := other.Synchronize(t.Context()); err != nil || !bytes.Equal(got, make([]byte, 4*packed)) {
			t.Errorf("%d places hold % x, %v, want zeros", packed, got, err)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
}
