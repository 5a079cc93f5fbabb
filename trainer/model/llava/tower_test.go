package llava_test

import (
	"context"
	"fmt"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
)

// Training fewer parameters skips work, but changes no bit of what is left: also
// where the lowest trained one is high up, and where one tower is frozen.
func TestGradientsDoNotDependOnWhatElseIsTrained(t *testing.T) {
	g := openGoldens(t)
	d := reference.Open()
	full := newRig(t, d, loadTiny(t, d, llava.Options{}))
	full.trainAll()
	b := g.batch(full.model.Config)
	all := full.step(b, loss{ce: 1}).grads
	var names []string
	for _, t := range full.towers {
		for _, s := range t.layout.Slots {
			names = append(names, s.Name)
		}
	}
	subsets := [][]string{names[:1], names[3:4], names[:4], names[len(names)-1:], names[:len(names)/2], names[len(names)/2:], {names[5], names[len(names)-5]}}
	for _, n := range names { // each one alone
		subsets = append(subsets, []string{n})
	}
	for _, subset := range subsets {
		r := newRig(t, d, loadTiny(t, d, llava.Options{}))
		r.train(subset)
		got := r.step(b, loss{ce: 1}).grads
		for _, n := range subset {
			if !sameBits(got[n], all[n]) {
				t.Errorf("gradient of %s differs when %d of %d parameters are trained", n, len(subset), len(names))
			}
		}
	}
}

// A frozen tower keeps nothing for a backward that will not come.
func TestFrozenVisionKeepsNothing(t *testing.T) {
	g := openGoldens(t)
	d := reference.Open()
	r := newRig(t, d, loadTiny(t, d, llava.Options{}))
	b := g.batch(r.model.Config)
	vision := r.towers[0]
	out, state := vision.tower.Forward(vision.lane, b, model.Edge{}, model.Student, true)
	kept := r.pool.InUse()
	state.Release(vision.lane)
	if rows := kept - r.pool.InUse(); rows > 4096 {
		t.Errorf("%d bytes are kept, want one list of rows", rows)
	}
	r.pool.Put(out.Tensor(model.Features))
}

// A tower in stages gives the bits of the whole one, in forward and backward.
func TestStagesEqualWhole(t *testing.T) {
	g := openGoldens(t)
	d := reference.Open()
	whole := newRig(t, d, loadTiny(t, d, llava.Options{}))
	whole.trainAll()
	b := g.batch(whole.model.Config)
	want := whole.step(b, loss{ce: 1})

	r := newRig(t, d, loadTiny(t, d, llava.Options{}))
	lower := loadTiny(t, d, llava.Options{Vision: llava.Range{Lo: 0, Hi: 1}, Language: llava.Range{Lo: 0, Hi: 1}})
	upper := loadTiny(t, d, llava.Options{Vision: llava.Range{Lo: 1, Hi: 2}, Language: llava.Range{Lo: 1, Hi: 2}})
	r.model = upper
	r.towers = []*tower{
		{tower: &staged{lower.Vision, upper.Vision}, lane: r.towers[0].lane},
		{tower: &staged{lower.Language, upper.Language}, lane: r.towers[1].lane},
	}
	r.trainAll()
	got := r.step(b, loss{ce: 1})
	if !sameBits(got.logits, want.logits) {
		t.Error("logits differ")
	}
	if len(got.grads) != len(want.grads) {
		t.Errorf("%d gradients, the whole has %d", len(got.grads), len(want.grads))
	}
	for n := range want.grads {
		if !sameBits(got.grads[n], want.grads[n]) {
			t.Errorf("gradient of %s differs", n)
		}
	}
}

// staged runs two stages one after the other.
type staged struct{ lower, upper model.Tower }

type stagedState struct {
	lower, upper model.State
}

func (s *stagedState) Release(l *model.Lane) { s.lower.Release(l); s.upper.Release(l) }

func (s *staged) Params() []*model.Param { return append(s.lower.Params(), s.upper.Params()...) }
func (s *staged) Linears() []*model.Linear {
	return append(s.lower.Linears(), s.upper.Linears()...)
}
func (s *staged) Prunable(n *model.Linear) bool { return s.lower.Prunable(n) && s.upper.Prunable(n) }

func (s *staged) Forward(l *model.Lane, b *data.Batch, in model.Edge, v model.Variant, keep bool) (model.Edge, model.State) {
	middle, lower := s.lower.Forward(l, b, in, v, keep)
	out, upper := s.upper.Forward(l, b, middle, v, keep)
	l.Free(middle.Tensor(model.Hidden))
	if !keep {
		return out, nil
	}
	return out, &stagedState{lower, upper}
}

func (s *staged) Backward(l *model.Lane, state model.State, dout model.Edge, needInput bool) model.Edge {
	st := state.(*stagedState)
	middle := s.upper.Backward(l, st.upper, dout, true)
	din := s.lower.Backward(l, st.lower, middle, needInput)
	l.Free(middle.Tensor(model.Hidden))
	return din
}

// The student without masks and adapters, forward that keeps state and forward
// that does not, and the dense variant are one computation.
func TestVariantsAgreeWithoutAttachments(t *testing.T) {
	g := openGoldens(t)
	d := reference.Open()
	r := newRig(t, d, loadTiny(t, d, llava.Options{}))
	b := g.batch(r.model.Config)
	hidden, _ := r.forward(b, model.Dense, false)
	want := r.read(hidden)
	for _, keep := range []bool{false, true} {
		hidden, states := r.forward(b, model.Student, keep)
		if !sameBits(r.read(hidden), want) {
			t.Errorf("student with keep %v differs from dense", keep)
		}
		for i, s := range states {
			if (s != nil) != keep {
				t.Errorf("tower %d: state %v with keep %v", i, s, keep)
			}
			if s != nil {
				s.Release(r.towers[i].lane)
			}
		}
	}
}

func TestObserverSeesEveryLinearOnce(t *testing.T) {
	g := openGoldens(t)
	d := reference.Open()
	r := newRig(t, d, loadTiny(t, d, llava.Options{}))
	seen := map[*model.Linear]int{}
	for _, tw := range r.towers {
		tw.lane.Observe = func(n *model.Linear, x kernels.Tensor) {
			if seen[n]++; x.Cols != n.In() {
				t.Errorf("%s: input of %d columns, want %d", n.Weight.Name, x.Cols, n.In())
			}
		}
	}
	r.forward(g.batch(r.model.Config), model.Dense, false)
	for _, tw := range r.towers {
		for _, n := range tw.tower.Linears() {
			if seen[n] != 1 {
				t.Errorf("%s was observed %d times", n.Weight.Name, seen[n])
			}
			delete(seen, n)
		}
	}
	if len(seen) != 0 {
		t.Errorf("%d layers were observed that no tower lists", len(seen))
	}
}

// A batch without images trains the language tower only: the gradients of the
// vision tower and of the projector are zero, not what was there before.
func TestBatchWithoutImages(t *testing.T) {
	d := reference.Open()
	r := newRig(t, d, loadTiny(t, d, llava.Options{}))
	r.trainAll()
	b := &data.Batch{Sequences: 1, Length: 4, Tokens: []int32{3, 9, 1, 2}, Labels: []int32{-1, 1, 2, -1},
		Lengths: []int32{4}, Positions: []int32{0, 1, 2, 3}, AnswerTokens: 2}
	zero := map[string]bool{}
	for _, p := range append(r.towers[0].tower.Params(), r.towers[1].tower.Params()[:4]...) {
		zero[p.Name] = true
	}
	for name, grad := range r.step(b, loss{ce: 1}).grads {
		var norm float64
		for _, v := range grad {
			norm += float64(v) * float64(v)
		}
		if (norm == 0) != zero[name] {
			t.Errorf("gradient of %s has norm² %v", name, norm)
		}
	}
}

func smallConfig() llava.Config {
	return llava.Config{
		Vision: llava.VisionConfig{Hidden: 12, Inner: 10, Blocks: 2, Heads: 2, Channels: 3, Image: 9, Patch: 4,
			Activation: kernels.GELUTanh, Epsilon: 1e-5, InitStd: 0.3},
		Language: llava.LanguageConfig{Hidden: 16, Inner: 18, Blocks: 2, Heads: 4, KVHeads: 1, HeadDim: 6, Vocabulary: 23,
			MaxPositions: 32, RopeTheta: 100, Activation: kernels.SiLU, Epsilon: 1e-6, InitStd: 0.3},
		ImageToken: 22, ProjectorActivation: kernels.GELU, ProjectorBias: true, FeatureBlocks: 1,
	}
}

func smallBatch(c llava.Config) *data.Batch {
	per := c.FeaturesPerImage()
	b := &data.Batch{Sequences: 2, Length: per + 4, Images: 2, AnswerTokens: 4, Lengths: []int32{int32(per + 4), int32(per + 3)}}
	for s := range 2 {
		for t := range b.Length {
			b.Positions = append(b.Positions, int32(t))
			id, label := int32((7*t+3*s)%c.Language.Vocabulary), int32(-1)
			if t < per {
				b.ImageRows = append(b.ImageRows, int32(s*b.Length+t))
				id = int32(c.ImageToken)
			} else if t < per+2 {
				label = int32((5*t + s) % c.Language.Vocabulary)
			}
			b.Tokens, b.Labels = append(b.Tokens, id), append(b.Labels, label)
		}
	}
	for i := range 2 * c.Vision.PixelsPerImage() {
		b.Pixels = append(b.Pixels, float32(i*i%17)/8-1)
	}
	return b
}

// Central differences of the loss along the gradient, tower by tower, for the
// shapes and options that the goldens do not have.
func TestFiniteDifferences(t *testing.T) {
	for name, change := range map[string]func(*llava.Config){
		"as it is":                          func(*llava.Config) {},
		"tied embeddings":                   func(c *llava.Config) { c.Language.Tied = true },
		"with class token":                  func(c *llava.Config) { c.KeepClass = true },
		"last layer":                        func(c *llava.Config) { c.FeatureBlocks = 2 },
		"no vision block":                   func(c *llava.Config) { c.FeatureBlocks = 0 },
		"no projector bias":                 func(c *llava.Config) { c.ProjectorBias = false },
		"image token beyond the vocabulary": func(c *llava.Config) { c.ImageToken = c.Language.Vocabulary },
	} {
		t.Run(name, func(t *testing.T) {
			c := smallConfig()
			change(&c)
			d := reference.Open()
			m, err := llava.New(context.Background(), d, c, 11, llava.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(m.Close)
			r := newRig(t, d, m)
			values := r.trainAll()
			b := smallBatch(c)
			if err := c.CheckBatch(b); err != nil {
				t.Fatal(err)
			}
			grads := r.step(b, loss{ce: 1}).grads
			for i, prefix := range []string{"vision", "language"} {
				var norm float64
				for _, s := range r.towers[i].layout.Slots {
					for _, v := range grads[s.Name] {
						norm += float64(v) * float64(v)
					}
				}
				const eps = 2e-3
				at := func(sign float64) float64 {
					moved := map[string][]float32{}
					for n, v := range values {
						moved[n] = v
					}
					for _, s := range r.towers[i].layout.Slots {
						moved[s.Name] = nil
						for j, v := range values[s.Name] {
							moved[s.Name] = append(moved[s.Name], v+float32(sign*eps/norm)*grads[s.Name][j])
						}
					}
					r.allocate(moved)
					return r.step(b, loss{ce: 1}).ce
				}
				// Along g/‖g‖² the loss changes by 1 per unit.
				if slope := (at(1) - at(-1)) / (2 * eps); slope < 0.99 || slope > 1.01 {
					t.Errorf("%s: slope along the gradient %v, want 1", prefix, slope)
				}
			}
		})
	}
}

// The gradient of an embedding that is the head too is the sum of the two that
// separate parameters of the same values have.
func TestTiedGradientIsTheSum(t *testing.T) {
	const head, embedding = "lm_head.weight", "model.language_model.embed_tokens.weight"
	grads := func(tied bool) map[string][]float32 {
		c := smallConfig()
		c.Language.Tied = tied
		d := reference.Open()
		m, err := llava.New(context.Background(), d, c, 3, llava.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		r := newRig(t, d, m)
		values := r.trainAll()
		if !tied {
			values[head] = values[embedding]
			r.allocate(values)
		}
		return r.step(smallBatch(c), loss{ce: 1}).grads
	}
	apart, tied := grads(false), grads(true)
	if _, ok := tied[head]; ok {
		t.Error("the tied model has a head of its own")
	}
	want := sum(apart[head], apart[embedding])
	compare(t, "embedding", tied[embedding], want)
	if e := relative(apart[head], want); e < 0.01 {
		t.Errorf("the embedding adds only %v to the head's gradient: the test shows nothing", e)
	}
}

func TestNewDependsOnSeedAndNameOnly(t *testing.T) {
	d := reference.Open()
	read := func(seed uint64, o llava.Options) map[string][]float32 {
		m, err := llava.New(context.Background(), d, smallConfig(), seed, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		r := &rig{t: t, device: d, pool: model.NewPool(d)}
		if r.stream, err = d.NewStream(); err != nil {
			t.Fatal(err)
		}
		out := map[string][]float32{}
		for _, p := range m.Params() {
			out[p.Name] = r.read(p.Value)
		}
		return out
	}
	whole, other := read(1, llava.Options{}), read(2, llava.Options{})
	stage := read(1, llava.Options{WithoutVision: true, Language: llava.Range{Lo: 1, Hi: 2}})
	if len(stage) == 0 || len(stage) >= len(whole) {
		t.Fatalf("a stage has %d of %d parameters", len(stage), len(whole))
	}
	for n, v := range stage {
		if !sameBits(v, whole[n]) {
			t.Errorf("%s of a stage differs from the whole model's", n)
		}
	}
	const q, k = "model.language_model.layers.0.mlp.gate_proj.weight", "model.language_model.layers.0.mlp.up_proj.weight"
	if sameBits(whole[q], other[q]) || sameBits(whole[q], whole[k]) {
		t.Error("seed or name does not change the numbers")
	}
	var sum, squares float64
	for _, v := range whole[q] {
		sum, squares = sum+float64(v), squares+float64(v)*float64(v)
	}
	n := float64(len(whole[q]))
	if std := squares / n; std < 0.07 || std > 0.11 || sum/n > 0.06 || sum/n < -0.06 {
		t.Errorf("mean %v and variance %v of %v numbers, want 0 and 0.09", sum/n, std, n)
	}
	if got := fmt.Sprint(whole["model.language_model.norm.weight"][0], whole["model.vision_tower.pre_layrnorm.bias"][0]); got != "1 0" {
		t.Errorf("norm starts at %s, want 1 0", got)
	}
}
