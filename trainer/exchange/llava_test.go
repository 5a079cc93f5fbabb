package exchange_test

import (
	"context"

	"ressa/kernels"
	"ressa/trainer/adapter"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/step"
)

// openLLaVA makes a tiny LLaVA cut between its towers: node 0 is the vision
// tower, node 1 projector, language tower and loss. Both are masked 2:4 and
// carry SparseLoRA.
func openLLaVA(ctx context.Context, d kernels.Device, holds func(int) bool) (*scene, error) {
	c := llava.Config{
		Vision: llava.VisionConfig{Hidden: 16, Inner: 24, Blocks: 2, Heads: 2, Channels: 3, Image: 8, Patch: 4,
			Activation: kernels.QuickGELU, Epsilon: 1e-5, InitStd: 0.3},
		Language: llava.LanguageConfig{Hidden: 16, Inner: 24, Blocks: 2, Heads: 4, KVHeads: 2, HeadDim: 4, Vocabulary: 29,
			MaxPositions: 32, RopeTheta: 100, Activation: kernels.SiLU, Epsilon: 1e-6, InitStd: 0.3},
		ImageToken: 28, ProjectorActivation: kernels.GELU, ProjectorBias: true, FeatureBlocks: 2,
	}
	m, err := llava.New(ctx, d, c, 11, llava.Options{WithoutVision: !holds(0), WithoutLanguage: !holds(1)})
	if err != nil {
		return nil, err
	}
	o := sceneObjective()
	vision := &step.TowerNode{Role: step.Vision, Flows: step.VisionFlows(o)}
	language := &step.TowerNode{Role: step.Language, Flows: step.LanguageFlows(o), InputGradient: true}
	s := &scene{
		graph:   step.Graph{Nodes: []step.Node{vision, language}, Inputs: [][]int{nil, {0}}},
		layouts: make([]*model.Layout, 2),
		// One microbatch has no image: its edge is empty. Three leaves make a tree
		// that is not full.
		batches: []*data.Batch{sceneBatch(c, 0, 2), sceneBatch(c, 1, 0), sceneBatch(c, 2, 2)},
		close:   m.Close,
	}
	attach := func(node int, tower model.Tower) error {
		for _, n := range tower.Linears() {
			if tower.Prunable(n) {
				if n.Mask, err = mask(ctx, d, n.Out(), n.In()); err != nil {
					return err
				}
			}
		}
		a, err := adapter.Attach(ctx, d, tower, adapter.Options{Method: adapter.SparseLoRA, Rank: 2, Alpha: 4, Projector: true, Round: kernels.F32})
		if err == nil {
			s.layouts[node] = a.Layout
		}
		return err
	}
	if holds(0) {
		vision.Tower = m.Vision
		if err := attach(0, m.Vision); err != nil {
			return nil, err
		}
	}
	if holds(1) {
		language.Tower, language.Loss = m.Language, &step.Loss{Language: m.Language, Config: o}
		if err := attach(1, m.Language); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// mask keeps two of four, in patterns that change from row to row.
func mask(ctx context.Context, d kernels.Device, rows, cols int) (kernels.Tensor, error) {
	words := kernels.MaskWords(cols)
	raw := make([]byte, 8*rows*words)
	patterns := []byte{0x33, 0x66, 0xcc, 0x99, 0x55, 0xaa}
	for i := range rows {
		for j := range cols {
			raw[8*(i*words+j/64)+j%64/8] |= patterns[i%len(patterns)] & (1 << (j % 8))
		}
	}
	b, err := d.Alloc(len(raw))
	if err != nil {
		return kernels.Tensor{}, err
	}
	stream, err := d.NewStream()
	if err != nil {
		return kernels.Tensor{}, err
	}
	t := kernels.NewTensor(b, kernels.U64, rows, words)
	stream.Upload(t, raw)
	if err := stream.Synchronize(ctx); err != nil {
		return kernels.Tensor{}, err
	}
	return t, stream.Close()
}

// sceneBatch makes two sequences of different lengths, with images or without.
func sceneBatch(c llava.Config, index, images int) *data.Batch {
	per := c.FeaturesPerImage()
	b := &data.Batch{Sequences: 2, Length: per + 5, Images: images, Lengths: []int32{int32(per + 5), int32(per + 4)}}
	for s := range 2 {
		for t := range b.Length {
			id, label := int32((7*t+3*s+index)%(c.Language.Vocabulary-1)), int32(data.Ignore)
			if t < per && s < images {
				b.ImageRows = append(b.ImageRows, int32(s*b.Length+t))
				id = int32(c.ImageToken)
			} else if t >= per && t < per+3 {
				label = int32((5*t + s + index) % c.Language.Vocabulary)
				b.AnswerTokens++
			}
			b.Tokens, b.Labels, b.Positions = append(b.Tokens, id), append(b.Labels, label), append(b.Positions, int32(t))
		}
	}
	b.Pixels = normals(1000+uint32(index), 0, images*c.Vision.PixelsPerImage(), 1)
	return b
}
