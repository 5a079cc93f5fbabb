//go:build cgo && linux

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// objectiveArgs is the argument struct of objective.cu.
type objectiveArgs struct {
	head
	logits, labels, gradient, losses view
	teachers                         uint64
	by, ceScale, klScale             float32
	count                            int32
}

// teacherBytes is the size of struct teacher.
const teacherBytes = 24

// CrossEntropyKL writes the losses of each row and, where DLogits is present, their
// gradient.
func (s *Stream) CrossEntropyKL(c kernels.CrossEntropyKLArgs) {
	const op = "cross-entropy"
	s.fail(c.Check())
	a := &objectiveArgs{
		logits: s.view(op, "logits", c.Logits), labels: s.view(op, "labels", c.Labels),
		gradient: s.optional(op, "gradient", c.DLogits), losses: s.view(op, "losses", c.Losses),
		by: 1 / c.Temperature, ceScale: c.CEScale, klScale: c.KLScale / c.Temperature, count: int32(len(c.Teachers)),
	}
	table := make([]byte, teacherBytes*len(c.Teachers))
	for k, t := range c.Teachers {
		v, to := s.view(op, fmt.Sprintf("teacher %d", k), t.Logits), table[teacherBytes*k:]
		binary.LittleEndian.PutUint64(to, v.data)
		binary.LittleEndian.PutUint64(to[8:], uint64(v.stride))
		binary.LittleEndian.PutUint32(to[16:], math.Float32bits(t.Weight))
	}
	if s.err != nil || c.Logits.Len() == 0 {
		return
	}
	if len(table) > 0 {
		a.teachers = s.temporary(len(table))
		s.uploadTemporary(table)
	}
	rows := c.Logits.Rows
	launchWith(s, "cross_entropy_kl", driver.Dim{uint32(rows), 1, 1}, threads, 8*len(c.Teachers), rows, a)
	s.checked(op, c.Logits.Cols, kernels.CheckRowIndex)
}
