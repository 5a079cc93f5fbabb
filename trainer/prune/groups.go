package prune

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/model"
)

// selectGroups returns the mask of one weight under an n:m pattern that fits it, by
// the scores |w|·norms[column], as [kernels.Masking] makes it on the device: only
// the mask comes to the host. Absent norms are 1.
func selectGroups(ctx context.Context, l *model.Lane, w kernels.Tensor, norms []float64, p sparse.Pattern) (sparse.Mask, error) {
	mask := sparse.New(w.Rows, w.Cols)
	words, first := make([]byte, 8*len(mask.Words)), make([]byte, 4*w.Rows)
	a := kernels.SelectMaskArgs{W: w, N: p.N, M: p.M,
		Mask: l.Pool.Get(kernels.U64, w.Rows, mask.WordsPerRow()), Bad: l.Pool.Get(kernels.I32, 1, w.Rows)}
	defer l.Free(a.Mask, a.Bad)
	if norms != nil {
		a.Norms = l.Pool.Get(kernels.F64, 1, w.Cols)
		defer l.Free(a.Norms)
		raw := make([]byte, 0, 8*w.Cols)
		for _, v := range norms {
			raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(v))
		}
		l.Stream.Upload(a.Norms, raw)
	}
	if err := l.Pool.Err(); err != nil {
		return sparse.Mask{}, fmt.Errorf("out of device memory: %w", err)
	}
	l.Stream.SelectMask(a)
	l.Stream.Download(words, a.Mask)
	l.Stream.Download(first, a.Bad)
	if err := l.Stream.Synchronize(ctx); err != nil {
		return sparse.Mask{}, err
	}
	for r := range w.Rows {
		c := int(int32(binary.LittleEndian.Uint32(first[4*r:])))
		if c < 0 {
			continue
		}
		v, err := weights(ctx, l, w.SliceRows(r, r+1).SliceCols(c, c+1))
		if err != nil {
			return sparse.Mask{}, err
		}
		s := math.Abs(float64(v[0]))
		if norms != nil {
			s *= norms[c]
		}
		return sparse.Mask{}, noOrder(r, c, s)
	}
	for i := range mask.Words {
		mask.Words[i] = binary.LittleEndian.Uint64(words[8*i:])
	}
	return mask, nil
}
