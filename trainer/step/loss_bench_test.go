package step

import (
	"context"
	"fmt"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/objective"
)

// The loss of 1008 rows with one teacher over SmolVLM's vocabulary, in chunks of
// several sizes.
func BenchmarkLossChunks(b *testing.B) {
	d, err := cpu.Open(cpu.Options{Threads: 1})
	if err != nil {
		b.Skip(err)
	}
	defer d.Close()
	const n, width, vocabulary = 1008, 576, 49280
	c := llava.Config{
		Vision: llava.VisionConfig{Hidden: 8, Inner: 8, Blocks: 1, Heads: 1, Channels: 3, Image: 4, Patch: 4, Epsilon: 1e-5, InitStd: 0.2},
		Language: llava.LanguageConfig{Hidden: width, Inner: 8, Blocks: 1, Heads: 1, KVHeads: 1, HeadDim: 4, Vocabulary: vocabulary, MaxPositions: 8, RopeTheta: 1e4,
			Activation: kernels.SiLU, Epsilon: 1e-5, InitStd: 0.02},
		FeatureBlocks: 1,
	}
	m, err := llava.New(context.Background(), d, c, 5, llava.Options{WithoutVision: true})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	s, err := d.NewStream()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	teacher, err := objective.NewTeacher("dense-dense", 1)
	if err != nil {
		b.Fatal(err)
	}
	o := &Loss{Language: m.Language, Config: objective.Config{Lambda: 0.5, Temperature: 2, Reduction: objective.TokenMean, Teachers: []objective.Teacher{teacher}}}
	flows := []Flow{{Variant: model.Student}, {Variant: model.Dense}}
	batch := &data.Batch{Tokens: make([]int32, n), Labels: make([]int32, n), AnswerTokens: n}
	for _, size := range []int{48, chunkLeast, ChunkRows(vocabulary), 336, n} {
		b.Run(fmt.Sprintf("rows=%d", size), func(b *testing.B) {
			l := &model.Lane{Stream: s, Pool: model.NewPool(d)}
			defer l.Pool.Close()
			for range b.N {
				e := o.enter(l, batch)
				var rows []kernels.Tensor
				for i := range flows {
					hidden := l.Scratch(n, width)
					s.Fill(hidden, 0.01*float32(i+1))
					rows = append(rows, e.gather(l, hidden))
				}
				o.inChunks(l, &Microbatch{Batch: batch, Scales: objective.Scales{CE: 1, KL: 1}}, flows, e, rows, size).release(l)
			}
			if err := s.Synchronize(context.Background()); err != nil {
				b.Fatal(err)
			}
			products := 3 * 2 * float64(n) * width * vocabulary
			b.ReportMetric(products*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			b.ReportMetric(float64(l.Pool.Peak())/(1<<20), "MiB-peak")
		})
	}
}
