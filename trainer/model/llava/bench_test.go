package llava_test

import (
	"context"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/trainer/data"
	"ressa/trainer/model/llava"
)

// A dense training step of a model like the demo's: 56×56 images of 16 patches,
// three blocks of width 64, 64 sequences of 32 tokens.
func BenchmarkStep(b *testing.B) {
	d, err := cpu.Open(cpu.Options{})
	if err != nil {
		b.Skip(err)
	}
	c := llava.Config{
		Vision: llava.VisionConfig{Hidden: 64, Inner: 256, Blocks: 4, Heads: 4, Channels: 3, Image: 56, Patch: 14,
			Activation: kernels.QuickGELU, Epsilon: 1e-5, InitStd: 0.1},
		Language: llava.LanguageConfig{Hidden: 64, Inner: 176, Blocks: 3, Heads: 4, KVHeads: 4, HeadDim: 16, Vocabulary: 128,
			MaxPositions: 64, RopeTheta: 10000, Activation: kernels.SiLU, Epsilon: 1e-6, InitStd: 0.1},
		ImageToken: 127, ProjectorBias: true, FeatureBlocks: 3,
	}
	m, err := llava.New(context.Background(), d, c, 1, llava.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	r := newRig(b, d, m)
	r.trainAll()
	const sequences, length = 64, 32
	batch := &data.Batch{Sequences: sequences, Length: length, Images: sequences, Pixels: make([]float32, sequences*c.Vision.PixelsPerImage())}
	for s := range sequences {
		batch.Lengths = append(batch.Lengths, length)
		for t := range length {
			batch.Positions = append(batch.Positions, int32(t))
			id, label := int32(t+s), int32(-1)
			if t < 16 {
				id, batch.ImageRows = 127, append(batch.ImageRows, int32(s*length+t))
			} else if t >= length-2 {
				label = 5
			}
			batch.Tokens, batch.Labels = append(batch.Tokens, id), append(batch.Labels, label)
		}
	}
	b.ResetTimer()
	for range b.N {
		r.step(batch, loss{ce: 1})
	}
	b.ReportMetric(float64(r.pool.Peak())/(1<<20), "MiB-scratch")
}
