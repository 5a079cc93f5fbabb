package step_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/kernels/sparse"
	"ressa/trainer/adapter"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/objective"
	"ressa/trainer/optim"
	"ressa/trainer/random"
	"ressa/trainer/step"
)

// tinyConfig is a LLaVA of two blocks a tower.
func tinyConfig() llava.Config {
	return llava.Config{
		Vision:   llava.VisionConfig{Hidden: 16, Inner: 24, Blocks: 2, Heads: 2, Channels: 3, Image: 8, Patch: 4, Activation: kernels.QuickGELU, Epsilon: 1e-5, InitStd: 0.2},
		Language: llava.LanguageConfig{Hidden: 16, Inner: 24, Blocks: 2, Heads: 4, KVHeads: 2, HeadDim: 4, Vocabulary: 29, MaxPositions: 32, RopeTheta: 10000, Activation: kernels.SiLU, Epsilon: 1e-5, InitStd: 0.2},

		ImageToken: 4, ProjectorActivation: kernels.GELU, ProjectorBias: true, FeatureBlocks: 2,
	}
}

// setting is what a test varies.
type setting struct {
	lanes     int
	wire      kernels.DType
	objective objective.Config
	method    adapter.Method
	lr        float64
	recompute model.Recompute
	device    kernels.Device // the reference unless it is set
	largest   step.Shape
	config    *llava.Config // of the model; tinyConfig unless it is set
}

func distilling(t testing.TB, names ...string) objective.Config {
	t.Helper()
	c := objective.Config{Lambda: 0.5, Temperature: 2, Reduction: objective.TokenMean}
	for _, n := range names {
		teacher, err := objective.NewTeacher(n, 1/float64(len(names)))
		if err != nil {
			t.Fatal(err)
		}
		c.Teachers = append(c.Teachers, teacher)
	}
	return c
}

// newEngine builds a masked tiny model under an engine, always the same one.
func newEngine(t testing.TB, s setting) *step.Engine {
	t.Helper()
	ctx := context.Background()
	d := s.device
	if d == nil {
		d = reference.Open()
	}
	c := tinyConfig()
	if s.config != nil {
		c = *s.config
	}
	m, err := llava.New(ctx, d, c, 7, llava.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	var layouts []*model.Layout
	var attachments []*adapter.Attachment
	for _, tower := range []model.Tower{m.Vision, m.Language} {
		for _, n := range tower.Linears() {
			if tower.Prunable(n) && s.method != adapter.Full {
				mask := sparse.NewOnes(n.Out(), n.In())
				for r := range n.Out() {
					for c := r % 2; c < n.In(); c += 2 {
						mask.Set(r, c, false)
					}
				}
				if n.Mask, err = mask.Upload(d, stream); err != nil {
					t.Fatal(err)
				}
			}
		}
		a, err := adapter.Attach(ctx, d, tower, adapter.Options{Method: s.method, Rank: 2, Alpha: 4, Projector: true, Round: kernels.BF16})
		if err != nil {
			t.Fatal(err)
		}
		layouts, attachments = append(layouts, a.Layout), append(attachments, a)
	}
	if s.lr == 0 {
		s.lr = 1e-2
	}
	e, err := step.NewEngine(d, step.Config{
		Graph: step.Graph{Nodes: []step.Node{
			&step.TowerNode{Role: step.Vision, Tower: m.Vision, Flows: step.VisionFlows(s.objective)},
			&step.TowerNode{Role: step.Language, Tower: m.Language, Flows: step.LanguageFlows(s.objective),
				Loss: &step.Loss{Language: m.Language, Config: s.objective}, InputGradient: true},
		}, Inputs: [][]int{nil, {0}}},
		Layouts: layouts, Objective: s.objective,
		Optimiser: optim.Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, ClipNorm: 1},
		Schedule:  optim.Schedule{Kind: "constant", Base: s.lr, Steps: 100}, Wire: s.wire, Lanes: s.lanes, Recompute: s.recompute, Largest: s.largest,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range attachments {
		if err := a.Init(ctx, stream, e.Vector(i).Values, 3); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), stream.Close()); err != nil && !t.Failed() {
			t.Error(err)
		}
		m.Close()
	})
	return e
}

// microbatches makes g microbatches of two samples each; text leaves images out.
func microbatches(t *testing.T, g, seed int, text bool) []*data.Batch {
	t.Helper()
	c := tinyConfig()
	out := make([]*data.Batch, g)
	for i := range out {
		r := random.New(uint64(seed), uint32(i), 0, 1)
		var samples []data.Sample
		for range 2 {
			var s data.Sample
			s.Tokens = append(s.Tokens, 1)
			if !text {
				for range c.FeaturesPerImage() {
					s.ImageRows = append(s.ImageRows, int32(len(s.Tokens)))
					s.Tokens = append(s.Tokens, int32(c.ImageToken))
				}
				pixels := make([]float32, c.Vision.PixelsPerImage())
				for k := range pixels {
					pixels[k] = r.Normal()
				}
				s.Pixels = [][]float32{pixels}
			}
			for range 3 + r.IntN(4) {
				s.Tokens = append(s.Tokens, int32(5+r.IntN(20)))
			}
			s.Labels = make([]int32, len(s.Tokens))
			for k := range s.Labels {
				s.Labels[k] = data.Ignore
			}
			s.Labels[len(s.Labels)-1], s.Labels[len(s.Labels)-2] = int32(5+r.IntN(20)), int32(5+r.IntN(20))
			samples = append(samples, s)
		}
		b, err := data.Collate(samples, 3)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = &b
	}
	return out
}

// values reads the trained values of both towers.
func values(t *testing.T, e *step.Engine) []float32 {
	t.Helper()
	var out []float32
	for node := range 2 {
		v, err := step.ReadVector(context.Background(), e.Lanes(node)[0].Stream, e.Vector(node).Values)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v...)
	}
	return out
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

func run(t *testing.T, e *step.Engine, steps, g int) []step.Result {
	t.Helper()
	var out []step.Result
	for s := range steps {
		r, err := e.Step(context.Background(), s, microbatches(t, g, s, false))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestLanesDoNotChangeABit(t *testing.T) {
	for name, s := range map[string]setting{
		"fp32 wire": {objective: distilling(t, "dense-dense"), method: adapter.SparseLoRA},
		"bf16 wire": {objective: distilling(t, "dense-dense"), method: adapter.SparseLoRA, wire: kernels.BF16},
		"masked":    {objective: distilling(t, "dense-vision", "dense-language"), method: adapter.Masked},
	} {
		for _, g := range []int{1, 5, 8} {
			s.lanes = 1
			one := newEngine(t, s)
			first := run(t, one, 3, g)
			s.lanes = 3
			three := newEngine(t, s)
			second := run(t, three, 3, g)
			if !sameBits(values(t, one), values(t, three)) {
				t.Errorf("%s, %d microbatches: one lane and three differ", name, g)
			}
			for i := range first {
				if first[i].Loss != second[i].Loss || first[i].GradNorm != second[i].GradNorm {
					t.Errorf("%s, %d microbatches, step %d: loss %v and %v, norm %v and %v", name, g, i,
						first[i].Loss, second[i].Loss, first[i].GradNorm, second[i].GradNorm)
				}
			}
		}
	}
}

func TestRecomputingDoesNotChangeABit(t *testing.T) {
	for _, method := range []adapter.Method{adapter.SparseLoRA, adapter.LoRARemask, adapter.Masked, adapter.Full} {
		s := setting{lanes: 2, objective: distilling(t, "dense-dense", "dense-vision"), method: method}
		keeping := newEngine(t, s)
		first := run(t, keeping, 3, 3)
		before := first
		for _, s.recompute = range []model.Recompute{model.RecomputeMLPs, model.RecomputeBlocks} {
			again := newEngine(t, s)
			second := run(t, again, 3, 3)
			if !sameBits(values(t, keeping), values(t, again)) {
				t.Errorf("%s, %v: other values", method, s.recompute)
			}
			for i := range first {
				if first[i].Loss != second[i].Loss || first[i].GradNorm != second[i].GradNorm {
					t.Errorf("%s, %v, step %d: loss %v and %v", method, s.recompute, i, first[i].Loss, second[i].Loss)
				}
				if before[i].PeakMemory <= second[i].PeakMemory {
					t.Errorf("%s, %v, step %d: %d bytes, %d where more is kept", method, s.recompute, i, second[i].PeakMemory, before[i].PeakMemory)
				}
			}
			before = second
		}
	}
}

func TestWireRounds(t *testing.T) {
	s := setting{lanes: 1, objective: distilling(t, "dense-dense"), method: adapter.SparseLoRA}
	exact := newEngine(t, s)
	run(t, exact, 2, 4)
	s.wire = kernels.BF16
	rounded := newEngine(t, s)
	run(t, rounded, 2, 4)
	if sameBits(values(t, exact), values(t, rounded)) {
		t.Error("a bf16 wire changes nothing: it does not round")
	}
}

// TestMicrobatchesAddUp holds a step of four microbatches to one of a single
// microbatch with the same samples: the scales are those of the whole step.
func TestMicrobatchesAddUp(t *testing.T) {
	s := setting{lanes: 1, objective: distilling(t, "dense-dense", "dense-vision", "dense-language"), method: adapter.SparseLoRA}
	parts := newEngine(t, s)
	whole := newEngine(t, s)
	four := microbatches(t, 4, 0, false)
	joined := join(t, four)
	a, err := parts.Step(context.Background(), 0, four)
	if err != nil {
		t.Fatal(err)
	}
	b, err := whole.Step(context.Background(), 0, []*data.Batch{joined})
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(a.Loss-b.Loss) > 1e-5*b.Loss || math.Abs(a.GradNorm-b.GradNorm) > 1e-4*b.GradNorm || a.Tokens != b.Tokens {
		t.Errorf("four parts: loss %v, norm %v, %d tokens; whole: %v, %v, %d", a.Loss, a.GradNorm, a.Tokens, b.Loss, b.GradNorm, b.Tokens)
	}
}

// join makes one batch of the samples of several.
func join(t *testing.T, parts []*data.Batch) *data.Batch {
	t.Helper()
	c := tinyConfig()
	var samples []data.Sample
	for _, b := range parts {
		for i := range b.Sequences {
			n := int(b.Lengths[i])
			s := data.Sample{Tokens: b.Tokens[i*b.Length : i*b.Length+n], Labels: b.Labels[i*b.Length : i*b.Length+n]}
			per := c.Vision.PixelsPerImage()
			s.Pixels = [][]float32{b.Pixels[i*per : (i+1)*per]}
			for k := range c.FeaturesPerImage() {
				s.ImageRows = append(s.ImageRows, int32(1+k))
			}
			samples = append(samples, s)
		}
	}
	b, err := data.Collate(samples, 3)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestTrainingLowersTheLoss(t *testing.T) {
	for _, method := range []adapter.Method{adapter.SparseLoRA, adapter.LoRARemask, adapter.Masked, adapter.Full} {
		o := objective.Config{Temperature: 1, Reduction: objective.TokenMean}
		e := newEngine(t, setting{lanes: 2, objective: o, method: method})
		batches := microbatches(t, 2, 0, false)
		var first, last float64
		for s := range 25 {
			r, err := e.Step(context.Background(), s, batches)
			if err != nil {
				t.Fatal(err)
			}
			if s == 0 {
				first = r.Loss
			}
			last = r.Loss
		}
		if !(last < 0.8*first) {
			t.Errorf("%s: loss from %v to %v in 25 steps on one batch", method, first, last)
		}
	}
}

// TestATextOnlyMicrobatchTrainsNothingOfTheImage also recycles gradient memory
// that a batch with images has filled.
func TestATextOnlyMicrobatchTrainsNothingOfTheImage(t *testing.T) {
	s := setting{lanes: 1, objective: distilling(t, "dense-dense"), method: adapter.SparseLoRA}
	e := newEngine(t, s)
	run(t, e, 1, 2)
	before, err := step.ReadVector(context.Background(), e.Lanes(0)[0].Stream, e.Vector(0).M)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Step(context.Background(), 1, microbatches(t, 2, 1, true)); err != nil {
		t.Fatal(err)
	}
	after, err := step.ReadVector(context.Background(), e.Lanes(0)[0].Stream, e.Vector(0).M)
	if err != nil {
		t.Fatal(err)
	}
	for i := range before {
		if math.Abs(float64(after[i]-0.9*before[i])) > 1e-6*math.Abs(float64(before[i]))+1e-12 {
			t.Fatalf("moment %d went from %v to %v: the vision tower got a gradient from text", i, before[i], after[i])
		}
	}
}

func TestAFailedStepChangesNothing(t *testing.T) {
	s := setting{lanes: 2, objective: distilling(t, "dense-dense"), method: adapter.SparseLoRA}
	e := newEngine(t, s)
	run(t, e, 1, 2)
	before := values(t, e)
	bad := microbatches(t, 2, 1, false)
	bad[1].Pixels[3] = float32(math.NaN())
	if _, err := e.Step(context.Background(), 1, bad); !errors.Is(err, step.ErrNotFinite) {
		t.Fatalf("error %v, want ErrNotFinite", err)
	}
	if !sameBits(before, values(t, e)) {
		t.Error("a step that was not finite changed the trained values")
	}
	for _, b := range bad {
		withoutAnswers(b)
	}
	if _, err := e.Step(context.Background(), 1, bad); err == nil {
		t.Error("a step without an answer token was accepted")
	}
	if _, err := e.Step(context.Background(), 1, microbatches(t, 2, 1, false)); err != nil {
		t.Errorf("the engine does not go on after a refused step: %v", err)
	}
}

func withoutAnswers(b *data.Batch) {
	for i := range b.Labels {
		b.Labels[i] = data.Ignore
	}
	b.AnswerTokens = 0
}

// TestAMicrobatchWithoutAnswersAddsNothing holds a step with such a microbatch to
// the step without it.
func TestAMicrobatchWithoutAnswersAddsNothing(t *testing.T) {
	s := setting{lanes: 1, objective: objective.Config{Temperature: 1, Reduction: objective.TokenMean}, method: adapter.Full}
	with, without := newEngine(t, s), newEngine(t, s)
	batches := microbatches(t, 2, 0, false)
	if _, err := without.Step(context.Background(), 0, batches[:1]); err != nil {
		t.Fatal(err)
	}
	withoutAnswers(batches[1])
	if _, err := with.Step(context.Background(), 0, batches); err != nil {
		t.Fatal(err)
	}
	if !sameBits(values(t, with), values(t, without)) {
		t.Error("a microbatch without answers changed the step")
	}
}

func TestCancelStopsAStep(t *testing.T) {
	e := newEngine(t, setting{lanes: 1, objective: distilling(t, "dense-dense"), method: adapter.SparseLoRA})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Step(ctx, 0, microbatches(t, 4, 0, false)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

func TestGraphCheck(t *testing.T) {
	n := &step.TowerNode{Role: step.Vision}
	for name, g := range map[string]step.Graph{
		"empty":     {},
		"lists":     {Nodes: []step.Node{n}, Inputs: nil},
		"backwards": {Nodes: []step.Node{n, n}, Inputs: [][]int{{1}, nil}},
		"itself":    {Nodes: []step.Node{n}, Inputs: [][]int{{0}}},
	} {
		if g.Check() == nil {
			t.Errorf("%s: a graph that cannot be walked was accepted", name)
		}
	}
}
