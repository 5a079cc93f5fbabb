//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// scratch is C memory that grows to the largest size asked for. Its contents
// are not kept.
type scratch struct {
	data  unsafe.Pointer
	bytes int
}

// atLeast returns at least n bytes aligned to 64.
func (s *scratch) atLeast(n int) (unsafe.Pointer, error) {
	if s.data != nil && s.bytes >= n {
		return s.data, nil
	}
	s.free()
	s.data = C.rk_alloc(C.int64_t(n))
	if s.data == nil {
		return nil, fmt.Errorf("cpu: out of memory: cannot allocate %d bytes of scratch", n)
	}
	s.bytes = n
	return s.data, nil
}

func (s *scratch) free() {
	C.rk_free(s.data)
	s.data, s.bytes = nil, 0
}
