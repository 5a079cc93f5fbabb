package llava

import (
	"fmt"

	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
)

// NewCache takes memory for the keys and values of sequences of up to capacity
// tokens, in the blocks of this stage, from the lane's pool. It fails on a
// capacity beyond the positions of the model.
func (t *Language) NewCache(l *model.Lane, sequences, capacity int) (*layer.Cache, error) {
	c := t.config.Language
	if capacity < 1 || capacity > t.positions {
		return nil, fmt.Errorf("llava: generating needs %d positions, the model has %d (text_config.max_position_embeddings)", capacity, t.positions)
	}
	return layer.NewCache(l, len(t.blocks), sequences, capacity, c.KVHeads*c.HeadDim), nil
}

// Prefill is Forward without state: it returns the output (B·T, C) and writes
// keys and values of all tokens into the cache. What padding leaves there is
// overwritten by the tokens that follow.
func (t *Language) Prefill(l *model.Lane, b *data.Batch, in model.Edge, v model.Variant, c *layer.Cache) kernels.Tensor {
	s := sequences(l, b)
	var x kernels.Tensor
	if t.embed != nil {
		x, _ = t.embed.forward(l, b, in.Tensor(model.Features), v, false)
	} else {
		x = layer.Copy(l, in.Tensor(model.Hidden))
	}
	rows := make([]int32, 0, len(b.Tokens))
	for i := range b.Tokens {
		rows = append(rows, int32(i/b.Length*c.Capacity+i%b.Length))
	}
	span := layer.Span{Rows: layer.Ints(l, rows)}
	return t.finish(l, x, s, v, c, span)
}

// Decode computes one more token of every sequence: tokens[b] stands at position
// lengths[b], after as many tokens in the cache. It returns the output (B, C).
//
// Later stages read in, the output of the stage before them, and no tokens.
func (t *Language) Decode(l *model.Lane, tokens, lengths []int32, in model.Edge, v model.Variant, c *layer.Cache) kernels.Tensor {
	n := len(tokens)
	s := layer.Sequences{Count: n, Length: 1, Positions: layer.Ints(l, lengths)}
	rows, valid, longest := make([]int32, n), make([]int32, n), 0
	for i, at := range lengths {
		rows[i], valid[i] = int32(i*c.Capacity)+at, at+1
		longest = max(longest, int(at)+1)
	}
	var x kernels.Tensor
	if t.embed != nil {
		index, table := layer.Ints(l, tokens), t.embed.tokens.In(l, v)
		x = l.Scratch(n, table.Cols)
		l.Stream.GatherRows(x, table, index)
		l.Free(index)
	} else {
		x = layer.Copy(l, in.Tensor(model.Hidden))
	}
	span := layer.Span{Rows: layer.Ints(l, rows), Lengths: layer.Ints(l, valid), KeyLen: longest}
	return t.finish(l, x, s, v, c, span)
}

// finish runs the blocks and, in the last stage, the final norm; it takes over x, s and span.
func (t *Language) finish(l *model.Lane, x kernels.Tensor, s layer.Sequences, v model.Variant, c *layer.Cache, span layer.Span) kernels.Tensor {
	x = t.blocks.ForwardCached(l, x, s, v, c, span)
	y := x
	if t.norm != nil {
		y = l.Scratch(x.Rows, x.Cols)
		t.norm.Forward(l, y, x, v)
		l.Free(x)
	}
	l.Free(s.Positions, span.Rows, span.Lengths)
	return y
}
