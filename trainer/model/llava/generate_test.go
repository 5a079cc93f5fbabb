package llava_test

import (
	"context"
	"slices"
	"testing"

	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/generate"
	"ressa/trainer/model/layer"
	"ressa/trainer/model/llava"
)

// generate continues a batch with both towers of r.
func (r *rig) generate(b *data.Batch, v model.Variant, o generate.Options) [][]int32 {
	r.t.Helper()
	vision, language := r.towers[0], r.towers[1]
	features, _ := vision.tower.Forward(vision.lane, b, model.Edge{}, v, false)
	out, err := r.continues(language.lane, b, features, v, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.pool.Put(features.Tensor(model.Features))
	return out
}

// whole is a language tower in one piece, or in two stages.
type whole struct {
	stages  []*llava.Language
	lane    *model.Lane
	batch   *data.Batch
	in      model.Edge
	variant model.Variant
	caches  []*layer.Cache
}

func (w *whole) through(stage func(i int, in model.Edge) kernels.Tensor) kernels.Tensor {
	edge := w.in
	var out kernels.Tensor
	for i := range w.stages {
		next := stage(i, edge)
		if i > 0 {
			w.lane.Free(out)
		}
		out, edge = next, model.Edge{}.With(model.Hidden, next)
	}
	return out
}

func (w *whole) Prompt(context.Context) (kernels.Tensor, error) {
	return w.through(func(i int, in model.Edge) kernels.Tensor {
		if w.caches == nil {
			out, _ := w.stages[i].Forward(w.lane, w.batch, in, w.variant, false)
			return out.Tensor(model.Hidden)
		}
		return w.stages[i].Prefill(w.lane, w.batch, in, w.variant, w.caches[i])
	}), nil
}

func (w *whole) Next(_ context.Context, tokens, lengths []int32) (kernels.Tensor, error) {
	return w.through(func(i int, in model.Edge) kernels.Tensor {
		return w.stages[i].Decode(w.lane, tokens, lengths, in, w.variant, w.caches[i])
	}), nil
}

func (w *whole) Logits(rows kernels.Tensor) kernels.Tensor {
	return w.stages[len(w.stages)-1].Logits(w.lane, rows, w.variant)
}

func (w *whole) Agree(_ context.Context, tokens []int32) ([]int32, error) { return tokens, nil }

// continues runs the language tower, in two stages where r.upper is set.
func (r *rig) continues(l *model.Lane, b *data.Batch, features model.Edge, v model.Variant, o generate.Options) ([][]int32, error) {
	w := &whole{stages: []*llava.Language{r.model.Language}, lane: l, batch: b, in: features, variant: v}
	if r.stages != nil {
		w.stages = r.stages
	}
	if o.MaxNew > 1 {
		for _, s := range w.stages {
			c, err := s.NewCache(l, b.Sequences, b.Length+o.MaxNew-1)
			if err != nil {
				return nil, err
			}
			defer c.Release(l)
			w.caches = append(w.caches, c)
		}
	}
	return generate.Run(context.Background(), l, w, b, o)
}

// Two stages of the language tower continue as the whole one does.
func TestStagesGenerateAsTheWhole(t *testing.T) {
	g := openGoldens(t)
	d := devices(t)["reference"]
	r := newRig(t, d, loadTiny(t, d, llava.Options{}))
	b := g.batch(r.model.Config)
	for _, n := range []int{1, 6} {
		r.stages = nil
		want := r.generate(b, model.Student, generate.Options{MaxNew: n})
		for _, part := range []llava.Range{{Lo: 0, Hi: 1}, {Lo: 1, Hi: 2}} {
			r.stages = append(r.stages, loadTiny(t, d, llava.Options{WithoutVision: true, Language: part}).Language)
		}
		for i, got := range r.generate(b, model.Student, generate.Options{MaxNew: n}) {
			if !slices.Equal(got, want[i]) {
				t.Errorf("sequence %d, %d tokens: %v, the whole gives %v", i, n, got, want[i])
			}
		}
	}
}

func TestGreedyMatchesTransformers(t *testing.T) {
	g := openGoldens(t)
	for name, d := range devices(t) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, d, loadTiny(t, d, llava.Options{}))
			b := g.batch(r.model.Config)
			for _, n := range []int{1, 2, 8} {
				for i, got := range r.generate(b, model.Dense, generate.Options{MaxNew: n}) {
					if want := g.ints([]string{"greedy.0", "greedy.1", "greedy.2"}[i])[:n]; !slices.Equal(got, want) {
						t.Errorf("sequence %d, %d tokens: %v, want %v", i, n, got, want)
					}
				}
			}
			if used := r.pool.InUse(); used != 0 {
				t.Errorf("%d bytes of scratch are not given back", used)
			}
		})
	}
}

// A cached continuation is the one that computing every prefix anew gives, for
// both variants, greedily and sampled.
func TestCacheEqualsRecomputation(t *testing.T) {
	g := openGoldens(t)
	for name, d := range devices(t) {
		r := newRig(t, d, loadTiny(t, d, llava.Options{}))
		r.attachSparse(g)
		for variant, v := range map[string]model.Variant{"student": model.Student, "dense": model.Dense} {
			for mode, o := range map[string]generate.Options{
				"greedy":  {MaxNew: 6},
				"sampled": {MaxNew: 6, Temperature: 1.5, TopK: 30, TopP: 0.95, Seed: 5, FirstSequence: 100},
			} {
				t.Run(name+"/"+variant+"/"+mode, func(t *testing.T) {
					b := g.batch(r.model.Config)
					got := r.generate(b, v, o)
					want := make([][]int32, b.Sequences)
					o.MaxNew = 1
					for range 6 {
						next := r.generate(b, v, o)
						for i := range next {
							want[i] = append(want[i], next[i]...)
						}
						b = extend(b, next)
					}
					for i := range want {
						if !slices.Equal(got[i], want[i]) {
							t.Errorf("sequence %d: %v, recomputed %v", i, got[i], want[i])
						}
					}
				})
			}
		}
	}
}

// extend returns the batch with one more token a sequence.
func extend(b *data.Batch, next [][]int32) *data.Batch {
	out := *b
	out.Length++
	out.Tokens, out.Positions, out.ImageRows, out.Lengths = nil, nil, nil, nil
	for i, n := range b.Lengths {
		row := append(slices.Clone(b.Tokens[i*b.Length:i*b.Length+int(n)]), next[i]...)
		row = append(row, make([]int32, out.Length-len(row))...)
		out.Tokens = append(out.Tokens, row...)
		out.Lengths = append(out.Lengths, n+1)
		for t := range out.Length {
			out.Positions = append(out.Positions, int32(t))
		}
	}
	for _, r := range b.ImageRows {
		out.ImageRows = append(out.ImageRows, r+r/int32(b.Length))
	}
	return &out
}

func TestStopToken(t *testing.T) {
	g := openGoldens(t)
	d := devices(t)["reference"]
	r := newRig(t, d, loadTiny(t, d, llava.Options{}))
	b := g.batch(r.model.Config)
	free := r.generate(b, model.Dense, generate.Options{MaxNew: 8})
	stop := free[1][3]
	for i, got := range r.generate(b, model.Dense, generate.Options{MaxNew: 8, Stop: []int32{stop}}) {
		want := free[i]
		if at := slices.Index(want, stop); at >= 0 {
			want = want[:at]
		}
		if !slices.Equal(got, want) {
			t.Errorf("sequence %d: %v, want %v before %d", i, got, want, stop)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	g := openGoldens(t)
	d := devices(t)["reference"]
	r := newRig(t, d, loadTiny(t, d, llava.Options{}))
	b := g.batch(r.model.Config)
	cases := map[string]generate.Options{
		"no tokens":   {},
		"too long":    {MaxNew: 1000},
		"temperature": {MaxNew: 1, Temperature: -1},
		"top-p":       {MaxNew: 1, TopP: 1.5},
		"top-k":       {MaxNew: 1, TopK: -1},
	}
	for name, o := range cases {
		if _, err := r.continues(r.towers[1].lane, b, model.Edge{}, model.Dense, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
