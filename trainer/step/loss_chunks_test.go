package step

import (
	"context"
	"math"
	"slices"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/reference"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/objective"
	"ressa/trainer/random"
)

// Chunks of any size give the bits of all rows at once, but for the gradient of a
// trained head: that is a sum over chunks, and close.
func TestChunksOfTheLoss(t *testing.T) {
	devices := map[string]kernels.Device{"reference": reference.Open()}
	if d, err := cpu.Open(cpu.Options{Threads: 2}); err == nil {
		devices["cpu"] = d
	}
	for name, d := range devices {
		for _, trained := range []bool{false, true} {
			wantRows, wantHead, wantLosses := chunked(t, d, trained, 53)
			for _, size := range []int{1, 7, 26, 52} {
				rows, head, losses := chunked(t, d, trained, size)
				if !slices.Equal(rows, wantRows) || losses != wantLosses {
					t.Errorf("%s: chunks of %d rows give other gradients or losses", name, size)
				}
				for i := range head {
					if e := math.Abs(float64(head[i] - wantHead[i])); !(e <= 1e-5*(1+math.Abs(float64(wantHead[i])))) {
						t.Fatalf("%s: chunks of %d rows: gradient of the head %v, want %v", name, size, head[i], wantHead[i])
					}
				}
				if _, again, _ := chunked(t, d, trained, size); !slices.Equal(again, head) {
					t.Errorf("%s: chunks of %d rows give other gradients of the head when made again", name, size)
				}
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// chunked computes the loss of 53 rows with two teachers in chunks of so many.
func chunked(t *testing.T, d kernels.Device, trained bool, size int) (drows, dhead []float32, sums Losses) {
	t.Helper()
	ctx := context.Background()
	c := llava.Config{
		Vision: llava.VisionConfig{Hidden: 8, Inner: 8, Blocks: 1, Heads: 1, Channels: 3, Image: 4, Patch: 4, Epsilon: 1e-5, InitStd: 0.2},
		Language: llava.LanguageConfig{Hidden: 24, Inner: 8, Blocks: 1, Heads: 1, KVHeads: 1, HeadDim: 4, Vocabulary: 211, MaxPositions: 8, RopeTheta: 1e4,
			Activation: kernels.SiLU, Epsilon: 1e-5, InitStd: 0.3},
		FeatureBlocks: 1,
	}
	m, err := llava.New(ctx, d, c, 5, llava.Options{WithoutVision: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	l := &model.Lane{Stream: s, Pool: model.NewPool(d)}
	defer func() {
		if used := l.Pool.InUse(); used != 0 {
			t.Errorf("%d bytes are not given back", used)
		}
		l.Pool.Close()
		_ = s.Close()
	}()
	if trained {
		ps := m.Language.Params()
		head, layout := ps[len(ps)-1], model.Layout{}
		head.Slot = layout.Add(head.Name, head.Value.Rows, head.Value.Cols)
		l.Values, l.Grads = l.Scratch(1, layout.Len), l.Scratch(1, layout.Len)
		defer l.Free(l.Values, l.Grads)
		s.Fill(l.Grads, 1e6)
		s.Convert(head.Slot.View(l.Values), head.Value)
	}
	const n = 53
	b := &data.Batch{Tokens: make([]int32, n+4), Labels: make([]int32, n+4), AnswerTokens: n}
	r := random.New(1, 2, 3, 4)
	for i := range b.Labels {
		b.Labels[i] = int32(r.IntN(211))
	}
	for _, i := range []int{0, 5, 30, 55} {
		b.Labels[i] = data.Ignore
	}
	o := &Loss{Language: m.Language, Config: objective.Config{Lambda: 0.5, Temperature: 2, Reduction: objective.TokenMean}}
	flows := []Flow{{Variant: model.Student}}
	for i, name := range []string{"dense-dense", "dense-language"} {
		teacher, err := objective.NewTeacher(name, float64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		o.Config.Teachers = append(o.Config.Teachers, teacher)
		flows = append(flows, Flow{Variant: model.Dense})
	}
	e := o.enter(l, b)
	var rows []kernels.Tensor
	for range flows {
		hidden, values := l.Scratch(n+4, 24), make([]float32, (n+4)*24)
		for i := range values {
			values[i] = 3 * r.Normal()
		}
		s.Upload(hidden, kernels.EncodeF32(values))
		rows = append(rows, e.gather(l, hidden))
	}
	k := o.inChunks(l, &Microbatch{Batch: b, Scales: objective.Scales{CE: 0.5, KL: 2}}, flows, e, rows, size)
	if trained {
		if dhead, err = ReadVector(ctx, s, l.Grads); err != nil {
			t.Fatal(err)
		}
	}
	dhidden := o.backward(l, k)
	if drows, err = ReadVector(ctx, s, dhidden.Reshape(1, dhidden.Len())); err != nil {
		t.Fatal(err)
	}
	l.Free(dhidden)
	return drows, dhead, k.sums()
}

func TestChunkRows(t *testing.T) {
	for vocabulary, want := range map[int]int{1: chunkLogits, 128: 65532, 32000: 252, 49280: 168, 1 << 20: chunkLeast} {
		if got := ChunkRows(vocabulary); got != want && vocabulary > 1 {
			t.Errorf("%d rows for a vocabulary of %d, want %d", got, vocabulary, want)
		}
	}
}
