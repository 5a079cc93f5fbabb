//go:build cgo && linux

package cuda

import "ressa/kernels"

// optional is view of a tensor that may be absent.
func (s *Stream) optional(op, name string, t kernels.Tensor) view {
	if t.IsZero() {
		return view{}
	}
	return s.view(op, name, t)
}
