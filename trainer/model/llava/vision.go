package llava

import (
	"ressa/kernels"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
)

// Vision is the CLIP vision transformer up to the feature layer, or a stage of
// it. N = images, P = patches, C = hidden width. The first stage reads the
// batch's pixels, later ones [model.Hidden] (N·(P+1), C); the last one gives
// [model.Features] (N·P, C), or (N·(P+1), C) with the class token, earlier ones
// [model.Hidden]. A batch without images gives and takes edges without tensors.
type Vision struct {
	config Config
	stage  Range
	embed  *patchEmbedding // nil but in the first stage
	blocks layer.Stack
	params []*model.Param
}

var _ model.Tower = (*Vision)(nil)

func newVision(b *builder, c Config, stage Range) *Vision {
	t := &Vision{config: c, stage: stage}
	b.prefix, b.normal = hf.VisionPrefix, normalVision
	if stage.Lo == 0 {
		t.embed = newPatchEmbedding(b, c.Vision)
	}
	for i := stage.Lo; i < stage.Hi; i++ {
		t.blocks = append(t.blocks, visionBlock(b, c.Vision, i))
	}
	t.params = b.take()
	return t
}

// unusedVision returns the parameters above the feature layer.
func unusedVision(b *builder, c Config) []*model.Param {
	b.prefix, b.normal = hf.VisionPrefix, normalVision
	for i := c.FeatureBlocks; i < c.Vision.Blocks; i++ {
		visionBlock(b, c.Vision, i)
	}
	b.norm("post_layernorm", c.Vision.Hidden, true)
	return b.take()
}

// Params implements [model.Tower].
func (t *Vision) Params() []*model.Param { return t.params }

// Linears implements [model.Tower]: those of the blocks. The patch embedding is
// a convolution in the checkpoint and not among them.
func (t *Vision) Linears() []*model.Linear { return t.blocks.Linears() }

// Prunable implements [model.Tower]: every linear is.
func (t *Vision) Prunable(*model.Linear) bool { return true }

// gathers reports whether the output leaves out the class token.
func (t *Vision) gathers() bool {
	return t.stage.Hi == t.config.FeatureBlocks && !t.config.KeepClass
}

// output is the name of what the stage gives.
func (t *Vision) output() string {
	if t.stage.Hi == t.config.FeatureBlocks {
		return model.Features
	}
	return model.Hidden
}

func (t *Vision) sequences(images int) layer.Sequences {
	return layer.Sequences{Count: images, Length: t.config.Vision.Tokens()}
}

// visionState is what the backward of a [Vision] needs.
type visionState struct {
	images  int
	embed   *patchState // nil where the embedding is not trained
	blocks  layer.StackState
	patches kernels.Tensor // I32: the rows of the output in the last hidden state
}

// Release implements [model.State].
func (s *visionState) Release(l *model.Lane) {
	if s.embed != nil {
		s.embed.release(l)
	}
	s.blocks.Release(l)
	l.Free(s.patches)
	*s = visionState{}
}

// Forward implements [model.Tower].
func (t *Vision) Forward(l *model.Lane, b *data.Batch, in model.Edge, v model.Variant, keep bool) (model.Edge, model.State) {
	s := &visionState{images: b.Images}
	if b.Images == 0 {
		return model.Edge{}, kept(s, keep)
	}
	var x kernels.Tensor
	below := true // of a later stage the gradient of the input may be asked for
	if t.embed != nil {
		x, s.embed = t.embed.forward(l, b, v, keep)
		below = t.embed.trained()
	} else {
		x = layer.Copy(l, in.Tensor(model.Hidden))
	}
	x, s.blocks = t.blocks.Forward(l, x, t.sequences(b.Images), v, keep, below)
	if t.gathers() {
		rows := layer.Ints(l, patchRows(b.Images, t.config.Vision.Tokens()))
		features := l.Scratch(rows.Cols, x.Cols)
		l.Stream.GatherRows(features, x, rows)
		l.Free(x)
		x = features
		if keep {
			s.patches = rows
		} else {
			l.Free(rows)
		}
	}
	return model.Edge{}.With(t.output(), x), kept(s, keep)
}

// kept returns s as a state, or nil without keep.
func kept(s *visionState, keep bool) model.State {
	if !keep {
		return nil
	}
	return s
}

// patchRows returns the rows of the patches: all but the first of each image.
func patchRows(images, tokens int) []int32 {
	rows := make([]int32, 0, images*(tokens-1))
	for n := range images {
		for p := 1; p < tokens; p++ {
			rows = append(rows, int32(n*tokens+p))
		}
	}
	return rows
}

// Backward implements [model.Tower].
func (t *Vision) Backward(l *model.Lane, state model.State, dout model.Edge, needInput bool) model.Edge {
	s := state.(*visionState)
	defer s.Release(l)
	if s.images == 0 {
		layer.ZeroGradients(l, t.params, t.Linears())
		return model.Edge{}
	}
	first := t.embed != nil
	below := needInput && !first || first && t.embed.trained()
	if !below && !t.blocks.Trained() {
		return model.Edge{}
	}
	d := t.spread(l, s, dout.Tensor(t.output()))
	t.blocks.Backward(l, d, t.sequences(s.images), s.blocks, below)
	if !first && needInput {
		return model.Edge{}.With(model.Hidden, d)
	}
	if below {
		t.embed.backward(l, d, s.embed)
	}
	l.Free(d)
	return model.Edge{}
}

// spread returns the gradient of the last hidden state for that of the output;
// the class token gets zero.
func (t *Vision) spread(l *model.Lane, s *visionState, dout kernels.Tensor) kernels.Tensor {
	if !t.gathers() {
		return layer.Copy(l, dout)
	}
	d := l.Scratch(s.images*t.config.Vision.Tokens(), dout.Cols)
	l.Stream.Fill(d, 0)
	l.Stream.ScatterRows(d, dout, s.patches)
	return d
}
