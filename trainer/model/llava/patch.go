package llava

import (
	"encoding/binary"
	"math"

	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
)

// patchEmbedding makes the rows of the vision transformer from pixels: the
// class embedding and the linear images of the patches, plus their positions,
// normalised. N = images, P = patches, C = hidden width, K = channels·patch².
//
// A patch of zeros stands where the class token does, so that one matrix product
// and one addition of a (P+1, C) table serve every row.
type patchEmbedding struct {
	config   VisionConfig
	class    *model.Param // (C)
	weight   *model.Param // (C, channels, patch, patch)
	position *model.Param // (P+1, C)
	norm     layer.Norm
}

func newPatchEmbedding(b *builder, v VisionConfig) *patchEmbedding {
	e := &patchEmbedding{config: v}
	e.class = b.param("embeddings.class_embedding", b.normal, v.Hidden)
	e.weight = b.param("embeddings.patch_embedding.weight", b.normal, v.Hidden, v.Channels, v.Patch, v.Patch)
	e.position = b.param("embeddings.position_embedding.weight", b.normal, v.Tokens(), v.Hidden)
	e.norm.Gamma, e.norm.Beta = b.norm("pre_layrnorm", v.Hidden, true)
	e.norm.Eps = v.Epsilon
	return e
}

func (e *patchEmbedding) trained() bool {
	return layer.Trained(e.class) || layer.Trained(e.weight) || layer.Trained(e.position) || e.norm.Trained()
}

// patchState is what backward needs; patches (N·(P+1), K) only where the weight
// is trained.
type patchState struct {
	patches kernels.Tensor
	norm    *layer.NormState
}

func (s *patchState) release(l *model.Lane) {
	l.Free(s.patches)
	if s.norm != nil {
		s.norm.Release(l)
	}
	*s = patchState{}
}

// forward returns the rows (N·(P+1), C) and, where keep is set and anything here
// is trained, the state.
func (e *patchEmbedding) forward(l *model.Lane, b *data.Batch, v model.Variant, keep bool) (kernels.Tensor, *patchState) {
	rows, width := b.Images*e.config.Tokens(), e.config.Hidden
	patches := l.Scratch(rows, e.config.Channels*e.config.Patch*e.config.Patch)
	l.Stream.Upload(patches, e.unfold(l, b))
	sum := l.Scratch(rows, width)
	weight := e.weight.In(l, v)
	l.Stream.LinearForward(sum, patches, kernels.LinearWeight{W: weight.Reshape(width, patches.Cols)}, kernels.Tensor{})
	keep = keep && e.trained()
	if !keep || !layer.Trained(e.weight) {
		l.Free(patches)
		patches = kernels.Tensor{}
	}
	table := e.table(l, v)
	l.Stream.AddRows(sum, sum, table)
	l.Free(table)
	x := l.Scratch(rows, width)
	if !keep {
		e.norm.Forward(l, x, sum, v)
		l.Free(sum)
		return x, nil
	}
	return x, &patchState{patches: patches, norm: e.norm.ForwardKeep(l, x, sum, v)}
}

// table returns the positions (P+1, C) with the class embedding added to the
// first.
func (e *patchEmbedding) table(l *model.Lane, v model.Variant) kernels.Tensor {
	table, class := l.Scratch(e.config.Tokens(), e.config.Hidden), l.Scratch(1, e.config.Hidden)
	l.Stream.Convert(table, e.position.In(l, v))
	l.Stream.Convert(class, e.class.In(l, v))
	first := table.SliceRows(0, 1)
	l.Stream.Add(first, first, class)
	l.Free(class)
	return table
}

// backward writes the gradients of what is trained for d (N·(P+1), C), and
// releases s.
func (e *patchEmbedding) backward(l *model.Lane, d kernels.Tensor, s *patchState) {
	dsum := l.Scratch(d.Rows, d.Cols)
	e.norm.Backward(l, dsum, d, s.norm)
	s.norm = nil
	if layer.Trained(e.position) || layer.Trained(e.class) {
		var scratch kernels.Tensor
		table := scratch
		if layer.Trained(e.position) {
			table = e.position.Slot.View(l.Grads)
		} else {
			scratch = l.Scratch(e.config.Tokens(), e.config.Hidden)
			table = scratch
		}
		l.Stream.SumRowGroups(table, dsum)
		if layer.Trained(e.class) {
			l.Stream.Convert(e.class.Slot.View(l.Grads), table.SliceRows(0, 1))
		}
		l.Free(scratch)
	}
	if layer.Trained(e.weight) {
		dw := e.weight.Slot.View(l.Grads).Reshape(e.config.Hidden, s.patches.Cols)
		l.Stream.LinearBackwardWeight(dw, dsum, s.patches, kernels.Tensor{})
	}
	l.Free(dsum)
	s.release(l)
}

// unfold returns the patches (N·(P+1), K) as bytes, each in the order of the
// convolution's weight: channel, row, column.
func (e *patchEmbedding) unfold(l *model.Lane, b *data.Batch) []byte {
	c := e.config
	side, per := c.Image/c.Patch, c.Channels*c.Patch*c.Patch
	out := l.Pool.Host(4 * b.Images * c.Tokens() * per)
	for n := range b.Images {
		first := 4 * n * c.Tokens() * per
		clear(out[first : first+4*per]) // of the class token
		pixels := b.Pixels[n*c.PixelsPerImage():]
		at := 4 * (n*c.Tokens() + 1) * per
		for p := range side * side {
			y, x := p/side*c.Patch, p%side*c.Patch
			for ch := range c.Channels {
				for dy := range c.Patch {
					row := pixels[(ch*c.Image+y+dy)*c.Image+x:]
					for dx := range c.Patch {
						binary.LittleEndian.PutUint32(out[at:], math.Float32bits(row[dx]))
						at += 4
					}
				}
			}
		}
	}
	return out
}
