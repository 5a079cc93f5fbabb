package llava

import (
	"ressa/kernels"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
)

// inputEmbedding makes the rows of the language model: the embedding of every
// token (V, C), with the projected features in the rows of image tokens.
type inputEmbedding struct {
	projector *projector
	tokens    *model.Param // (V, C)
	tied      bool         // the head is this parameter too
}

func newInputEmbedding(b *builder, c Config) *inputEmbedding {
	e := &inputEmbedding{projector: newProjector(b, c), tied: c.Language.Tied}
	b.prefix = hf.LanguagePrefix
	e.tokens = b.param("embed_tokens.weight", normalLanguage, c.Language.Vocabulary, c.Language.Hidden)
	return e
}

func (e *inputEmbedding) trained() bool { return layer.Trained(e.tokens) || e.projector.trained() }

// embeddingState is what backward needs.
type embeddingState struct {
	projector projectorState
	imageRows kernels.Tensor // I32 (1, R), absent without images
	textRows  kernels.Tensor // I32: the other rows, and their tokens; absent unless the embedding is trained
	text      kernels.Tensor
}

func (s *embeddingState) release(l *model.Lane) {
	s.projector.release(l)
	l.Free(s.imageRows, s.textRows, s.text)
	*s = embeddingState{}
}

// forward returns the rows (B·T, C). The token that stands in an image row is
// not looked up: it may lie outside the vocabulary.
func (e *inputEmbedding) forward(l *model.Lane, b *data.Batch, features kernels.Tensor, v model.Variant, keep bool) (kernels.Tensor, embeddingState) {
	var s embeddingState
	table := e.tokens.In(l, v)
	ids := append([]int32(nil), b.Tokens...)
	for _, r := range b.ImageRows {
		ids[r] = 0
	}
	index := layer.Ints(l, ids)
	x := l.Scratch(len(ids), table.Cols)
	l.Stream.GatherRows(x, table, index)
	l.Free(index)
	if b.Images > 0 {
		var projected kernels.Tensor
		projected, s.projector = e.projector.forward(l, features, v, keep)
		s.imageRows = layer.Ints(l, b.ImageRows)
		l.Stream.ScatterRows(x, projected, s.imageRows)
		l.Free(projected)
	}
	if !keep {
		s.release(l)
	} else if layer.Trained(e.tokens) {
		rows, tokens := textRows(b)
		if len(rows) > 0 {
			s.textRows, s.text = layer.Ints(l, rows), layer.Ints(l, tokens)
		}
	}
	return x, s
}

// textRows returns the rows without image features and their tokens.
func textRows(b *data.Batch) (rows, tokens []int32) {
	image := make([]bool, len(b.Tokens))
	for _, r := range b.ImageRows {
		image[r] = true
	}
	for i, t := range b.Tokens {
		if !image[i] {
			rows, tokens = append(rows, int32(i)), append(tokens, t)
		}
	}
	return rows, tokens
}

// backward writes the gradients of what is trained for d (B·T, C) and returns
// that of the features where needInput is set and the batch has images. It
// releases s.
func (e *inputEmbedding) backward(l *model.Lane, d kernels.Tensor, s *embeddingState, needInput bool) kernels.Tensor {
	defer s.release(l)
	if layer.Trained(e.tokens) {
		e.backwardTokens(l, d, s)
	}
	if s.imageRows.IsZero() {
		ns := []*model.Linear{e.projector.first, e.projector.second}
		for _, n := range ns {
			layer.ZeroGradients(l, linearParams(n), []*model.Linear{n})
		}
		return kernels.Tensor{}
	}
	var dfeatures kernels.Tensor
	if needInput {
		dfeatures = l.Scratch(s.imageRows.Cols, e.projector.first.In())
	}
	if needInput || e.projector.trained() {
		dy := l.Scratch(s.imageRows.Cols, d.Cols)
		l.Stream.GatherRows(dy, d, s.imageRows)
		e.projector.backward(l, dfeatures, dy, &s.projector)
		l.Free(dy)
	}
	return dfeatures
}

// backwardTokens writes the gradient of the token embedding, or adds it where
// the head has written its own there.
func (e *inputEmbedding) backwardTokens(l *model.Lane, d kernels.Tensor, s *embeddingState) {
	dtable := e.tokens.Slot.View(l.Grads)
	if s.text.IsZero() {
		if !e.tied {
			l.Stream.Fill(dtable, 0)
		}
		return
	}
	rows := l.Scratch(s.textRows.Cols, d.Cols)
	l.Stream.GatherRows(rows, d, s.textRows)
	if !e.tied {
		l.Stream.ScatterAddRows(dtable, rows, s.text)
	} else {
		sum := l.Scratch(dtable.Rows, dtable.Cols)
		l.Stream.ScatterAddRows(sum, rows, s.text)
		l.Stream.Add(dtable, dtable, sum)
		l.Free(sum)
	}
	l.Free(rows)
}

func linearParams(n *model.Linear) []*model.Param {
	if n.Bias == nil {
		return []*model.Param{n.Weight}
	}
	return []*model.Param{n.Weight, n.Bias}
}
