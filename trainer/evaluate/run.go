package evaluate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"fmt"
	"slices"
	"sync"

	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/generate"
)

// Encoder turns a question into a sample without its answer. [data.Encoder]
// implements it. It is safe for concurrent use.
type Encoder interface {
	Prompt(data.Example) (data.Sample, error)
}

// Encoders are two views of one encoder.
type Encoders struct {
	Full  Encoder
	Blank Encoder // gives images without pixels, for workers that do not look at them
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
// result depends neither on the number of lanes nor on the team's plan, and every
// worker has it. lanes are by lane and stage: those of one lane share a stream and
// a pool. It fails with the first error of an example, of the model, of a peer, or
// of ctx.
func Run(ctx context.Context, m Model, lanes [][]*model.Lane, set data.Dataset, encoders Encoders, text Text, o Options) (Result, error) {
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
		model: m, set: set, encoders: encoders, text: text, options: o, examples: examples, answers: make([]Answer, len(examples)),
		first: m.Team.Number(windowBatches * o.MaxNew),
	}
	windows := (len(examples) + e.window() - 1) / e.window()
	for w := range windows {
		if m.Team.Part(w) {
			e.share += len(e.of(w))
		}
	}
	if err := m.Team.Run(ctx, len(lanes), windows, func(ctx context.Context, lane, w int) error { return e.run(ctx, lanes[lane], w) }); err != nil {
		return Result{}, fmt.Errorf("evaluate: %w", err)
	}
	if err := e.join(ctx); err != nil {
		return Result{}, fmt.Errorf("evaluate: %w", err)
	}
	return summarise(e.answers), nil
}

// evaluation is one run; lanes write disjoint parts of answers.
type evaluation struct {
	model    Model
	set      data.Dataset
	encoders Encoders
	text     Text
	options  Options
	examples []int
	answers  []Answer
	first    int // number of the first forward pass of a window
	share    int // questions that this worker has a part in

	mu   sync.Mutex // guards done, own and calls of Progress
	done int
	own  []Told
}

// Told is an answer on its way to the other workers.
type Told struct {
	At     int // position
	Answer Answer
}

func (e *evaluation) window() int { return windowBatches * e.options.BatchSize }

// of returns the examples of a window.
func (e *evaluation) of(w int) []int {
	return e.examples[w*e.window() : min((w+1)*e.window(), len(e.examples))]
}

// join completes the answers by those that other workers have.
func (e *evaluation) join(ctx context.Context) error {
	if e.model.Team.Alone() {
		return nil
	}
	var said bytes.Buffer
	if err := gob.NewEncoder(&said).Encode(e.own); err != nil {
		return err
	}
	all, err := e.model.Team.Gather(ctx, "answers", said.Bytes())
	if err != nil {
		return err
	}
	known := 0
	for w, raw := range all {
		var told []Told
		if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&told); err != nil {
			return fmt.Errorf("answers of worker %d: %w", w, err)
		}
		for _, a := range told {
			if a.At < 0 || a.At >= len(e.answers) {
				return fmt.Errorf("worker %d answered question %d of %d", w, a.At, len(e.answers))
			}
			e.answers[a.At] = a.Answer
			known++
		}
	}
	if known != len(e.answers) {
		return fmt.Errorf("%d answers to %d questions", known, len(e.answers))
	}
	return nil
}

// prompt is an encoded question and where its answer goes.
type prompt struct {
	sample data.Sample
	at     int
}

// run evaluates the examples of a window.
func (e *evaluation) run(ctx context.Context, lanes []*model.Lane, w int) error {
	encoder := e.encoders.Blank
	if e.model.Team.Owns(0, w) {
		encoder = e.encoders.Full
	}
	var prompts []prompt
	for k, i := range e.of(w) {
		if err := ctx.Err(); err != nil {
			return err
		}
		ex, err := e.set.Example(i)
		if err != nil {
			return err
		}
		accepted, err := acceptedAnswers(ex)
		if err != nil {
			return err
		}
		sample, err := encoder.Prompt(ex)
		if err != nil {
			return err
		}
		if e.options.Blind {
			for _, pixels := range sample.Pixels {
				clear(pixels)
			}
		}
		at := w*e.window() + k
		e.answers[at] = Answer{ID: ex.ID, Kind: ex.Kind, Accepted: accepted}
		prompts = append(prompts, prompt{sample, at})
	}
	slices.SortStableFunc(prompts, func(a, b prompt) int { return len(a.sample.Tokens) - len(b.sample.Tokens) })
	number := e.first
	for part := range slices.Chunk(prompts, e.options.BatchSize) {
		if err := e.ask(ctx, lanes, w, number, part); err != nil {
			return err
		}
		number += e.options.MaxNew
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

// ask runs one batch, in forward passes from number on.
func (e *evaluation) ask(ctx context.Context, lanes []*model.Lane, w, number int, prompts []prompt) error {
	samples := make([]data.Sample, len(prompts))
	for i, p := range prompts {
		samples[i] = p.sample
	}
	b, err := data.Collate(samples, e.options.Pad)
	if err != nil {
		return err
	}
	if b.Images > 0 && !e.model.sees() {
		return fmt.Errorf("example %q has an image, the model no vision tower", e.answers[prompts[0].at].ID)
	}
	p := &passes{Model: e.model, lanes: lanes, batch: &b, cell: w, number: number, maxNew: e.options.MaxNew}
	defer p.release()
	tokens, err := p.answer(ctx, generate.Options{MaxNew: e.options.MaxNew, Stop: e.options.Stop})
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if tokens != nil {
		for i, p := range prompts {
			a := &e.answers[p.at]
			a.Text = e.text.Decode(tokens[i], true)
			a.Right = Match(a.Text, a.Accepted)
			e.own = append(e.own, Told{p.at, *a})
		}
	}
	e.done += len(prompts)
	if e.options.Progress != nil {
		// Of others only the share is known.
		e.options.Progress(int(int64(e.done)*int64(len(e.examples))/int64(e.share)), len(e.examples))
	}
	return nil
}
