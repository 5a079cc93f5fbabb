package bench

import (
	"fmt"

	"ressa/kernels"
)

// Gemms returns the groups of plain products.
func Gemms(shapes []Shape) []Group {
	var groups []Group
	for _, s := range shapes {
		groups = append(groups, Group{Name: s.String(), Open: func(r *Rig) ([]Part, error) {
			if err := s.Check(); err != nil {
				return nil, err
			}
			return []Part{s.part(r)}, nil
		}})
	}
	return groups
}

func (s Shape) part(r *Rig) Part {
	x, y, w := r.values(s.Rows, s.In, 1), r.values(s.Rows, s.Out, 1), r.values(s.Out, s.In, 1)
	a := kernels.GemmArgs{Form: kernels.NT, C: y, A: x, B: w}
	m, n, k := s.Rows, s.Out, s.In
	switch s.Op {
	case GemmNN:
		a = kernels.GemmArgs{Form: kernels.NN, C: x, A: y, B: w}
		m, n, k = s.Rows, s.In, s.Out
	case GemmTN:
		a = kernels.GemmArgs{Form: kernels.TN, C: w, A: y, B: x}
		m, n, k = s.Out, s.In, s.Rows
	}
	p := Part{
		Label: Label{Suite: "gemm", Op: string(s.Op), Size: fmt.Sprintf("%d × %d × %d", s.Rows, s.Out, s.In)},
		Flops: 2 * float64(m) * float64(n) * float64(k), Bytes: float64(x.Bytes() + y.Bytes() + w.Bytes()),
		ours: func() { r.stream.Gemm(a) },
	}
	if r.library != nil && r.err == nil {
		left, right, out := r.matrix(a.A), r.matrix(a.B), r.matrix(a.C)
		p.theirs = func() {
			r.library.Sgemm(a.Form == kernels.TN, a.Form == kernels.NT, m, n, k, left, right, 0, out)
		}
	}
	return p
}
