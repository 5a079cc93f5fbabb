package job

import (
	"context"

	"ressa/coordinator/api"
	"ressa/trainer/data"
	"ressa/trainer/evaluate"
	"ressa/trainer/model"
)

// byStage serves lanes without trained values to all stages.
func byStage(lanes []*model.Lane, s *Subject) [][]*model.Lane {
	out := make([][]*model.Lane, len(lanes))
	for i, l := range lanes {
		for range s.Parts {
			out[i] = append(out[i], l)
		}
	}
	return out
}

// untrained are the lanes for work on the model as it was before training.
func (r *run) untrained() [][]*model.Lane { return byStage(r.probes, r.subject) }

// trained returns the lanes with the trained values, by lane and stage, or those
// without where nothing is trained.
func (r *run) trained() [][]*model.Lane {
	if r.engine == nil {
		return r.untrained()
	}
	var out [][]*model.Lane
	for stage := range r.subject.Parts {
		for i, l := range r.engine.Lanes(stage) {
			if stage == 0 {
				out = append(out, nil)
			}
			out[i] = append(out[i], l)
		}
	}
	return out
}

// score evaluates on the test set and keeps the score for the result; one that an
// earlier process found is not computed again.
func (r *run) score(ctx context.Context, of string, lanes [][]*model.Lane, blind bool) error {
	if r.test == nil {
		return nil
	}
	if r.state.Scores[of] == nil {
		r.enter("evaluate", of)
		s, err := r.evaluate(ctx, of, r.test, r.job.Evaluate.Questions, lanes, blind)
		if err != nil {
			return err
		}
		r.state.Scores[of] = s
		r.save(api.Running)
	}
	r.emit(api.Event{Event: "score", Of: of, Score: r.state.Scores[of]})
	return nil
}

// evaluate scores the student on the first limit examples of a set; 0 is all.
func (r *run) evaluate(ctx context.Context, of string, set data.Dataset, limit int, lanes [][]*model.Lane, blind bool) (*api.Score, error) {
	if limit > 0 && limit < set.Len() {
		set = excerpt{set, 0, limit}
	}
	return Evaluate(ctx, r.subject, set, lanes, EvaluateOptions{Batch: r.job.Evaluate.Batch, MaxNew: r.job.Evaluate.MaxNewTokens, Blind: blind,
		Progress: func(done, total int) { r.emit(api.Event{Event: "progress", Of: of, Done: done, Total: total}) }})
}

// EvaluateOptions say how [Evaluate] asks.
type EvaluateOptions struct {
	Batch, MaxNew int
	Blind         bool
	Progress      func(done, total int)
}

// Evaluate scores a subject's student on all examples of a set. Every worker of
// its team calls it and gets the score.
func Evaluate(ctx context.Context, s *Subject, set data.Dataset, lanes [][]*model.Lane, o EvaluateOptions) (*api.Score, error) {
	res, err := evaluate.Run(ctx, evaluate.Model{Team: s.Team, Stages: s.stages(), Variant: model.Student}, lanes, set,
		evaluate.Encoders{Full: s.Encoder, Blank: s.Encoder.WithoutPixels()}, s.Tokenizer,
		evaluate.Options{BatchSize: o.Batch, MaxNew: o.MaxNew, Stop: []int32{s.EOS}, Pad: s.Pad, Blind: o.Blind, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	low, high := res.Interval()
	out := &api.Score{Score: res.Percent(), Low: low, High: high, Correct: res.Right, Questions: res.Questions}
	for _, k := range res.Kinds {
		out.Kinds = append(out.Kinds, api.KindScore{Kind: k.Kind, Score: k.Percent(), Questions: k.Questions})
	}
	return out, nil
}
