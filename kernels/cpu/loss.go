//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"fmt"
	"unsafe"

	"ressa/kernels"
)

// CrossEntropyKL writes the losses of each row and, where DLogits is present,
// their gradient.
func (s *stream) CrossEntropyKL(a kernels.CrossEntropyKLArgs) {
	const op = "cross-entropy"
	s.fail(a.Check())
	if len(a.Teachers) > C.RK_LOSS_TEACHERS {
		s.fail(fmt.Errorf("%s: %d teachers, want at most %d", op, len(a.Teachers), C.RK_LOSS_TEACHERS))
	}
	g := arguments[C.struct_rk_loss](s)
	g.logits = s.mat(op, "logits", a.Logits, -1, -1, f32)
	g.labels = s.mat(op, "labels", a.Labels, -1, -1, i32)
	g.losses = s.mat(op, "losses", a.Losses, -1, -1, f32)
	g.gradient = s.optional(op, "gradient", a.DLogits, -1, -1, f32)
	if s.err != nil || a.Logits.Len() == 0 {
		return
	}
	for k, t := range a.Teachers {
		m := s.mat(op, fmt.Sprintf("teacher %d", k), t.Logits, -1, -1, f32)
		g.teacher[k], g.teacher_stride[k], g.weight[k] = (*C.float)(m.data), m.stride, C.float(t.Weight)
	}
	for i, y := range unsafe.Slice((*int32)(g.labels.data), a.Logits.Rows) {
		if int(y) >= a.Logits.Cols {
			s.fail(fmt.Errorf("%s: label %d is %d, want less than %d", op, i, y, a.Logits.Cols))
			return
		}
	}
	g.teachers = C.int64_t(len(a.Teachers))
	g.temperature, g.ce_scale, g.kl_scale = C.float(a.Temperature), C.float(a.CEScale), C.float(a.KLScale)
	passes := 1 + len(a.Teachers)
	block, tasks := rowsPerTask(a.Logits.Rows, a.Logits.Cols*passes)
	g.block = C.int64_t(block)
	s.run(s.table.cross_entropy_kl, tasks, C.RK_LOSS_SCRATCH, 2*activationWork*a.Logits.Len()*passes)
}
