package evaluate

import (
	"context"
	"fmt"
	"slices"

	"ressa/kernels"
	"ressa/shard"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/generate"
	"ressa/trainer/model/layer"
	"ressa/trainer/team"
)

// Model is what answers.
type Model struct {
	Team *team.Team
	// Stages are those of the team's plan, nil where this worker does not hold them.
	// Language stages implement [generate.Stage], the last one [model.Language].
	Stages []model.Tower
	// Variant is Student for the pruned or repaired model, Dense for the teacher.
	Variant model.Variant
}

// sees reports whether the model has a vision tower.
func (m Model) sees() bool { return m.Team.Plan().Stages[0].Tower == shard.Vision }

// language returns the index of the first language stage.
func (m Model) language() int {
	return slices.IndexFunc(m.Team.Plan().Stages, func(s shard.Stage) bool { return s.Tower == shard.Language })
}

// passes are the forward passes of one batch: over all stages for the prompts,
// then over the language tower's for every further token.
type passes struct {
	Model
	lanes  []*model.Lane // by stage
	batch  *data.Batch
	cell   int // decides who computes
	number int // of the next pass
	maxNew int
	round  int
	caches []*layer.Cache // by stage
}

var _ generate.Tower = (*passes)(nil)

// answer returns the new tokens where the last stage is computed, nil elsewhere.
func (p *passes) answer(ctx context.Context, o generate.Options) ([][]int32, error) {
	p.caches = make([]*layer.Cache, len(p.Stages))
	last := len(p.Stages) - 1
	for i := p.language(); i <= last; i++ {
		if !p.Team.Owns(i, p.cell) {
			continue
		}
		tokens, err := generate.Run(ctx, p.lanes[i], p, p.batch, o)
		if err != nil || !p.Team.Owns(last, p.cell) {
			return nil, err
		}
		return tokens, nil
	}
	_, err := p.Prompt(ctx)
	return nil, err
}

// release gives the caches back.
func (p *passes) release() {
	for i, c := range p.caches {
		if c != nil {
			c.Release(p.lanes[i])
		}
	}
}

// Prompt implements [generate.Tower].
func (p *passes) Prompt(ctx context.Context) (kernels.Tensor, error) {
	b := p.batch
	return p.pass(ctx, 0, func(i int, l *model.Lane, in model.Edge) (model.Edge, error) {
		s := p.Stages[i]
		if p.Team.Plan().Stages[i].Tower == shard.Vision {
			if b.Images == 0 {
				return model.Edge{}, nil
			}
			out, _ := s.Forward(l, b, in, p.Variant, false)
			return out, nil
		}
		if p.maxNew == 1 {
			out, _ := s.Forward(l, b, in, p.Variant, false)
			return out, nil
		}
		stage, ok := s.(generate.Stage)
		if !ok {
			return model.Edge{}, fmt.Errorf("stage %d cannot generate", i)
		}
		// The last token is never fed back.
		var err error
		if p.caches[i], err = stage.NewCache(l, b.Sequences, b.Length+p.maxNew-1); err != nil {
			return model.Edge{}, err
		}
		return model.Edge{}.With(model.Hidden, stage.Prefill(l, b, in, p.Variant, p.caches[i])), nil
	})
}

// Next implements [generate.Tower].
func (p *passes) Next(ctx context.Context, tokens, lengths []int32) (kernels.Tensor, error) {
	return p.pass(ctx, p.language(), func(i int, l *model.Lane, in model.Edge) (model.Edge, error) {
		stage, ok := p.Stages[i].(generate.Stage)
		if !ok {
			return model.Edge{}, fmt.Errorf("stage %d cannot generate", i)
		}
		return model.Edge{}.With(model.Hidden, stage.Decode(l, tokens, lengths, in, p.Variant, p.caches[i])), nil
	})
}

// pass runs the stages from first on and returns the last one's output.
func (p *passes) pass(ctx context.Context, first int, stage func(i int, l *model.Lane, in model.Edge) (model.Edge, error)) (kernels.Tensor, error) {
	out, err := p.Team.Forward(ctx, p.lanes, p.number, p.cell, first, func(i int, in model.Edge) (model.Edge, error) {
		return stage(i, p.lanes[i], in)
	})
	return out.Tensor(model.Hidden), err
}

// Logits implements [generate.Tower].
func (p *passes) Logits(rows kernels.Tensor) kernels.Tensor {
	last := len(p.Stages) - 1
	language, _ := p.Stages[last].(model.Language)
	return language.Logits(p.lanes[last], rows, p.Variant)
}

// Agree implements [generate.Tower]. After the last round nobody needs the tokens.
func (p *passes) Agree(ctx context.Context, tokens []int32) ([]int32, error) {
	number := p.number
	p.number++
	if p.round++; p.round == p.maxNew {
		return tokens, nil
	}
	raw, err := p.Team.Share(ctx, number, p.cell, p.language(), encode(tokens))
	if err != nil {
		return nil, fmt.Errorf("share tokens: %w", err)
	}
	if len(raw) != 4*p.batch.Sequences {
		return nil, fmt.Errorf("share tokens: %d bytes for %d sequences", len(raw), p.batch.Sequences)
	}
	return decode(raw), nil
}
