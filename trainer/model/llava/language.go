package llava

import (
	"ressa/kernels"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
)

// Language is the projector, the LLaMA decoder and its head, or a stage of them.
// B = sequences, T = tokens, C = hidden width, V = vocabulary. The first stage
// reads the batch's tokens and [model.Features], later ones [model.Hidden]
// (B·T, C); every stage gives [model.Hidden], the last one after the final norm.
//
// Where the head is the token embedding and that is trained, LogitsBackward
// must come before Backward, which adds to its gradient.
type Language struct {
	config Config
	embed  *inputEmbedding // nil but in the first stage
	blocks layer.Stack
	norm   *layer.Norm   // nil but in the last stage
	head   *model.Linear // (V, C), nil but in the last stage
	params []*model.Param

	positions int // that the rotary tables cover
}

var _ model.Language = (*Language)(nil)

func newLanguage(b *builder, c Config, stage Range, rotary *layer.Rotary) *Language {
	t := &Language{config: c, positions: rotary.Cos.Rows}
	if stage.Lo == 0 {
		t.embed = newInputEmbedding(b, c)
	}
	b.prefix, b.normal = hf.LanguagePrefix, normalLanguage
	for i := stage.Lo; i < stage.Hi; i++ {
		t.blocks = append(t.blocks, languageBlock(b, c.Language, i, rotary))
	}
	if stage.Hi == c.Language.Blocks {
		t.norm = &layer.Norm{Eps: c.Language.Epsilon}
		t.norm.Gamma, _ = b.norm("norm", c.Language.Hidden, false)
		if c.Language.Tied {
			t.head = &model.Linear{Weight: t.embed.tokens}
		} else {
			b.prefix = ""
			t.head = &model.Linear{Weight: b.param(hf.HeadPrefix+"weight", normalLanguage, c.Language.Vocabulary, c.Language.Hidden)}
		}
	}
	t.params = b.take()
	return t
}

// Params implements [model.Tower].
func (t *Language) Params() []*model.Param { return t.params }

// Linears implements [model.Tower]: the projector's two, then those of the
// blocks. The head is not among them: it is neither pruned nor adapted.
func (t *Language) Linears() []*model.Linear {
	var ns []*model.Linear
	if t.embed != nil {
		ns = append(ns, t.embed.projector.first, t.embed.projector.second)
	}
	return append(ns, t.blocks.Linears()...)
}

// Prunable implements [model.Tower]: all but the projector's.
func (t *Language) Prunable(n *model.Linear) bool {
	return t.embed == nil || n != t.embed.projector.first && n != t.embed.projector.second
}

// languageState is what the backward of a [Language] needs.
type languageState struct {
	sequences layer.Sequences // owns the positions
	embed     embeddingState
	blocks    layer.StackState
	norm      *layer.NormState
}

// Release implements [model.State].
func (s *languageState) Release(l *model.Lane) {
	l.Free(s.sequences.Positions)
	s.embed.release(l)
	s.blocks.Release(l)
	if s.norm != nil {
		s.norm.Release(l)
	}
	*s = languageState{}
}

// Forward implements [model.Tower].
func (t *Language) Forward(l *model.Lane, b *data.Batch, in model.Edge, v model.Variant, keep bool) (model.Edge, model.State) {
	s := &languageState{sequences: sequences(l, b)}
	var x kernels.Tensor
	if t.embed != nil {
		x, s.embed = t.embed.forward(l, b, in.Tensor(model.Features), v, keep)
	} else {
		x = layer.Copy(l, in.Tensor(model.Hidden))
	}
	x, s.blocks = t.blocks.Forward(l, x, s.sequences, v, keep, true)
	if t.norm != nil {
		y := l.Scratch(x.Rows, x.Cols)
		if keep {
			s.norm = t.norm.ForwardKeep(l, y, x, v)
		} else {
			t.norm.Forward(l, y, x, v)
			l.Free(x)
		}
		x = y
	}
	out := model.Edge{}.With(model.Hidden, x)
	if !keep {
		s.Release(l)
		return out, nil
	}
	return out, s
}

// sequences uploads what the blocks need to know of the batch.
func sequences(l *model.Lane, b *data.Batch) layer.Sequences {
	return layer.Sequences{Count: b.Sequences, Length: b.Length, Positions: layer.Ints(l, b.Positions)}
}

// Backward implements [model.Tower].
func (t *Language) Backward(l *model.Lane, state model.State, dout model.Edge, needInput bool) model.Edge {
	s := state.(*languageState)
	defer s.Release(l)
	below := needInput || t.embed != nil && t.embed.trained()
	if !below && !t.blocks.Trained() && (t.norm == nil || !t.norm.Trained()) {
		return model.Edge{}
	}
	d := dout.Tensor(model.Hidden)
	if t.norm != nil {
		dx := l.Scratch(d.Rows, d.Cols)
		t.norm.Backward(l, dx, d, s.norm)
		s.norm, d = nil, dx
	} else {
		d = layer.Copy(l, d)
	}
	t.blocks.Backward(l, d, s.sequences, s.blocks, below)
	if t.embed == nil {
		if needInput {
			return model.Edge{}.With(model.Hidden, d)
		}
		l.Free(d)
		return model.Edge{}
	}
	var dfeatures kernels.Tensor
	if below {
		dfeatures = t.embed.backward(l, d, &s.embed, needInput)
	}
	l.Free(d)
	if dfeatures.IsZero() {
		return model.Edge{}
	}
	return model.Edge{}.With(model.Features, dfeatures)
}

// Vocabulary implements [model.Language].
func (t *Language) Vocabulary() int { return t.config.Language.Vocabulary }

// Logits implements [model.Language], in the last stage only. Calibration does
// not observe the head.
func (t *Language) Logits(l *model.Lane, rows kernels.Tensor, v model.Variant) kernels.Tensor {
	y := l.Scratch(rows.Rows, t.Vocabulary())
	l.Stream.LinearForward(y, rows, t.head.Operand(l.Values, v), kernels.Tensor{})
	return y
}

// Width implements [model.Language].
func (t *Language) Width() int { return t.config.Language.Hidden }

// LogitsBackward implements [model.Language], in the last stage only.
func (t *Language) LogitsBackward(l *model.Lane, drows, dlogits, rows kernels.Tensor, accumulate bool) {
	if !accumulate {
		t.head.Backward(l, drows, dlogits, rows, false)
		return
	}
	if s := t.head.Weight.Slot; s != nil {
		l.Stream.Gemm(kernels.GemmArgs{C: s.View(l.Grads), A: dlogits, B: rows, Form: kernels.TN, Accumulate: true})
	}
	l.Stream.LinearBackwardInput(drows, dlogits, t.head.Operand(l.Values, model.Student), false)
}
