package evaluate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/generate"
)

// Model is what answers.
type Model struct {
	Vision   model.Tower // nil for a text-only model
	Language generate.Decoder
	// Variant is Student for the pruned or repaired model, Dense for the teacher.
	Variant model.Variant
}

// Lane is what one batch at a time computes with: a lane for each tower, with
// its trained values. Both share one stream and one pool.
type Lane struct {
	Vision, Language *model.Lane
}

// Encoder turns a question into a sample without its answer. [data.Encoder]
// implements it. It is safe for concurrent use.
type Encoder interface {
	Prompt(data.Example) (data.Sample, error)
}

// Text turns tokens back into text. Package tokenizer implements it.
type Text interface {
	Decode(ids []int32, skipSpecial bool) string
}

// Options say how to evaluate. Zero fields take the defaults named.
type Options struct {
	// Examples are the positions in the data set to evaluate, in the order of the
	// answers; nil takes all.
	Examples  []int
	BatchSize int // sequences of a batch; 32
	// MaxNew bounds an answer in tokens; 16. With 1 there is one prefill and no
	// cache: right where every answer is one token.
	MaxNew int
	Stop   []int32 // tokens that end an answer
	Pad    int32   // token that fills up shorter prompts of a batch
	Blind  bool    // zero the pixels of every image after preprocessing
	// Progress, where it is set, is told how many questions are done. Calls do not
	// overlap.
	Progress func(done, total int)
}

// windowBatches is how many batches are formed together: within a window,
// examples are ordered by length, so that little is padding. It is fixed because
// a batch's shape may show in the last bits of its logits.
const windowBatches = 4

// Run asks the model every question of a data set, the last of each example,
// greedily, and compares the answers with the accepted ones (see [Match]). The
// result does not depend on the number of lanes. It fails with the first error
// of an example, of the model, or of ctx.
func Run(ctx context.Context, m Model, lanes []Lane, set data.Dataset, encoder Encoder, text Text, o Options) (Result, error) {
	examples := o.Examples
	if examples == nil {
		for i := range set.Len() {
			examples = append(examples, i)
		}
	}
	if len(examples) == 0 {
		return Result{}, fmt.Errorf("evaluate: the data set has no examples")
	}
	if len(lanes) == 0 {
		return Result{}, fmt.Errorf("evaluate: no lanes")
	}
	if o.BatchSize < 0 || o.MaxNew < 0 {
		return Result{}, fmt.Errorf("evaluate: batch size %d and %d new tokens, want at least 1", o.BatchSize, o.MaxNew)
	}
	o.BatchSize, o.MaxNew = cmp.Or(o.BatchSize, 32), cmp.Or(o.MaxNew, 16)
	e := &evaluation{
		model: m, set: set, encoder: encoder, text: text, options: o, examples: examples, answers: make([]Answer, len(examples)),
	}
	group, ctx := errgroup.WithContext(ctx)
	windows := make(chan int)
	group.Go(func() error {
		defer close(windows)
		for lo := 0; lo < len(examples); lo += e.window() {
			select {
			case windows <- lo:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for _, lane := range lanes {
		group.Go(func() error {
			for lo := range windows {
				if err := e.run(ctx, lane, lo, min(lo+e.window(), len(examples))); err != nil {
					return fmt.Errorf("evaluate: %w", err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	return summarise(e.answers), nil
}

// evaluation is one run; lanes write disjoint parts of answers.
type evaluation struct {
	model    Model
	set      data.Dataset
	encoder  Encoder
	text     Text
	options  Options
	examples []int
	answers  []Answer

	mu   sync.Mutex // guards done and calls of Progress
	done int
}

func (e *evaluation) window() int { return windowBatches * e.options.BatchSize }

// prompt is an encoded question and where its answer goes.
type prompt struct {
	sample data.Sample
	at     int
}

// run evaluates the examples at positions lo to hi-1.
func (e *evaluation) run(ctx context.Context, lane Lane, lo, hi int) error {
	prompts := make([]prompt, 0, hi-lo)
	for at := lo; at < hi; at++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		ex, err := e.set.Example(e.examples[at])
		if err != nil {
			return err
		}
		accepted, err := acceptedAnswers(ex)
		if err != nil {
			return err
		}
		sample, err := e.encoder.Prompt(ex)
		if err != nil {
			return err
		}
		if e.options.Blind {
			for _, pixels := range sample.Pixels {
				clear(pixels)
			}
		}
		e.answers[at] = Answer{ID: ex.ID, Kind: ex.Kind, Accepted: accepted}
		prompts = append(prompts, prompt{sample, at})
	}
	slices.SortStableFunc(prompts, func(a, b prompt) int { return len(a.sample.Tokens) - len(b.sample.Tokens) })
	for part := range slices.Chunk(prompts, e.options.BatchSize) {
		if err := e.ask(ctx, lane, part); err != nil {
			return err
		}
	}
	return nil
}

// acceptedAnswers returns what the data set takes for right.
func acceptedAnswers(ex data.Example) ([]string, error) {
	accepted := slices.Clone(ex.Answers)
	if n := len(ex.Turns); n > 0 && ex.Turns[n-1].Role == data.Assistant {
		accepted = append(accepted, ex.Turns[n-1].Text)
	}
	if len(accepted) == 0 {
		return nil, fmt.Errorf("example %q has no answer to compare with", ex.ID)
	}
	return accepted, nil
}

// ask runs one batch.
func (e *evaluation) ask(ctx context.Context, lane Lane, prompts []prompt) error {
	samples := make([]data.Sample, len(prompts))
	for i, p := range prompts {
		samples[i] = p.sample
	}
	b, err := data.Collate(samples, e.options.Pad)
	if err != nil {
		return err
	}
	var features model.Edge
	if e.model.Vision != nil {
		features, _ = e.model.Vision.Forward(lane.Vision, &b, model.Edge{}, e.model.Variant, false)
	} else if b.Images > 0 {
		return fmt.Errorf("example %q has an image, the model no vision tower", e.answers[prompts[0].at].ID)
	}
	tokens, err := generate.Run(ctx, lane.Language, e.model.Language, &b, features, e.model.Variant,
		generate.Options{MaxNew: e.options.MaxNew, Stop: e.options.Stop})
	for _, t := range features.Tensors {
		lane.Vision.Free(t.Tensor)
	}
	if err != nil {
		return err
	}
	for i, p := range prompts {
		a := &e.answers[p.at]
		a.Text = e.text.Decode(tokens[i], true)
		a.Right = Match(a.Text, a.Accepted)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done += len(prompts)
	if e.options.Progress != nil {
		e.options.Progress(e.done, len(e.examples))
	}
	return nil
}
