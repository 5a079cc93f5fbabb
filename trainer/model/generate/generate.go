package generate

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
)

// Stage is a stage of a language tower, or all of it, that can go on where it
// stopped. B = sequences, T = tokens of the prompts, C = hidden width. The first
// stage reads tokens and the vision tower's output, later ones what the stage
// before them gave, as [model.Hidden].
type Stage interface {
	model.Tower
	// NewCache takes memory for sequences of up to capacity tokens.
	NewCache(l *model.Lane, sequences, capacity int) (*layer.Cache, error)
	// Prefill returns the output (B·T, C) and fills the cache.
	Prefill(l *model.Lane, b *data.Batch, in model.Edge, v model.Variant, c *layer.Cache) kernels.Tensor
	// Decode returns the output (B, C) for one more token of every sequence at
	// position lengths[b].
	Decode(l *model.Lane, tokens, lengths []int32, in model.Edge, v model.Variant, c *layer.Cache) kernels.Tensor
}

// Tower computes what is continued: a language tower whose stages may live in
// several processes, all of which call [Run] for the batch. Where the last stage
// is elsewhere, outputs are zero Tensors.
type Tower interface {
	// Prompt returns the output (B·T, C) for the prompts.
	Prompt(ctx context.Context) (kernels.Tensor, error)
	// Next returns the output (B, C) for one more token of every sequence, at position
	// lengths[b].
	Next(ctx context.Context, tokens, lengths []int32) (kernels.Tensor, error)
	// Logits returns those of rows (N, C) of an output.
	Logits(rows kernels.Tensor) kernels.Tensor
	// Agree returns the tokens that were chosen where the last stage is; elsewhere
	// what is passed is not read.
	Agree(ctx context.Context, tokens []int32) ([]int32, error)
}

// Options say how to continue. The zero Temperature is greedy.
type Options struct {
	MaxNew int     // most tokens to add to a sequence, at least 1
	Stop   []int32 // tokens that end a sequence; they are not part of the result

	Temperature float64 // of the softmax; 0 takes the most likely token
	TopK        int     // sample from the K most likely tokens; 0: from all
	TopP        float64 // and of these from the fewest that hold this probability; 0 or 1: from all
	Seed        uint64
	// FirstSequence is added to a sequence's index in the batch, so that batches of
	// one data set draw different numbers.
	FirstSequence int
}

// Check verifies the options.
func (o Options) Check() error {
	switch {
	case o.MaxNew < 1:
		return fmt.Errorf("generate: max new tokens is %d, want at least 1", o.MaxNew)
	case !(o.Temperature >= 0) || math.IsInf(o.Temperature, 0):
		return fmt.Errorf("generate: temperature is %v, want 0 (greedy) or more", o.Temperature)
	case o.TopK < 0:
		return fmt.Errorf("generate: top-k is %d, want 0 (all) or more", o.TopK)
	case !(o.TopP >= 0 && o.TopP <= 1):
		return fmt.Errorf("generate: top-p is %v, want 0 to 1", o.TopP)
	}
	return nil
}

// Run continues every sequence of b and returns the new tokens of each. Labels
// are not read. It fails on bad options, and with the error of the tower, of the
// lane's stream or of ctx.
func Run(ctx context.Context, l *model.Lane, t Tower, b *data.Batch, o Options) ([][]int32, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if b.Sequences < 1 || len(b.Lengths) != b.Sequences {
		return nil, fmt.Errorf("generate: batch of %d sequences has %d lengths", b.Sequences, len(b.Lengths))
	}
	r := &run{ctx: ctx, lane: l, tower: t, options: o, lengths: slices.Clone(b.Lengths)}
	r.out, r.done = make([][]int32, b.Sequences), make([]bool, b.Sequences)

	hidden, err := r.prompt(b)
	for err == nil {
		var next []int32
		if next, err = r.choose(hidden); err != nil {
			break
		}
		if r.add(next) {
			return r.out, nil
		}
		hidden, err = t.Next(ctx, next, r.lengths)
		for i := range r.lengths {
			r.lengths[i]++
		}
	}
	return nil, err
}

// run is a batch on its way.
type run struct {
	ctx     context.Context
	lane    *model.Lane
	tower   Tower
	options Options
	lengths []int32 // tokens before the next one
	out     [][]int32
	done    []bool
	steps   int
}

// prompt returns the outputs (B, C) at the last token of each prompt.
func (r *run) prompt(b *data.Batch) (kernels.Tensor, error) {
	l := r.lane
	all, err := r.tower.Prompt(r.ctx)
	if err != nil || all.IsZero() {
		return all, err
	}
	rows := make([]int32, b.Sequences)
	for i, n := range b.Lengths {
		rows[i] = int32(i*b.Length) + n - 1
	}
	index := layer.Ints(l, rows)
	last := l.Scratch(b.Sequences, all.Cols)
	l.Stream.GatherRows(last, all, index)
	l.Free(all, index)
	return last, nil
}

// choose takes over hidden (B, C) and returns the next token of each sequence.
func (r *run) choose(hidden kernels.Tensor) (next []int32, err error) {
	if !hidden.IsZero() {
		if next, err = r.best(hidden); err != nil {
			return nil, err
		}
	}
	return r.tower.Agree(r.ctx, next)
}

// best takes over hidden (B, C) and returns the tokens that its logits give.
func (r *run) best(hidden kernels.Tensor) ([]int32, error) {
	l := r.lane
	logits := r.tower.Logits(hidden)
	l.Free(hidden)
	defer l.Free(logits)
	if r.options.Temperature > 0 {
		raw := make([]byte, logits.Bytes())
		l.Stream.Download(raw, logits)
		if err := r.synchronize(); err != nil {
			return nil, err
		}
		return r.sample(raw, logits.Cols), nil
	}
	best := l.Pool.Get(kernels.I32, 1, logits.Rows)
	defer l.Free(best)
	l.Stream.ArgmaxRows(best, logits)
	raw := make([]byte, best.Bytes())
	l.Stream.Download(raw, best)
	if err := r.synchronize(); err != nil {
		return nil, err
	}
	next := make([]int32, logits.Rows)
	for i := range next {
		next[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return next, nil
}

func (r *run) synchronize() error {
	if err := r.lane.Pool.Err(); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	if err := r.lane.Stream.Synchronize(r.ctx); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	return nil
}

// add appends the tokens to the sequences that go on and reports whether none does.
func (r *run) add(next []int32) bool {
	all := true
	for i, t := range next {
		if r.done[i] {
			continue
		}
		if slices.Contains(r.options.Stop, t) {
			r.done[i] = true
			continue
		}
		r.out[i] = append(r.out[i], t)
		all = false
	}
	r.steps++
	return all || r.steps == r.options.MaxNew
}
