package job

import (
	"ressa/shard"
	"ressa/trainer/adapter"
	"ressa/trainer/objective"
	"ressa/trainer/step"
)

// vision returns the profile of the CLIP tower.
func (c *cost) vision() shard.Tower {
	v := c.Config.Vision
	tokens := v.Tokens()
	sequences := c.samples * c.mostImages
	t := c.newTower(step.Vision, c.VisionBytes, c.samples*c.images*tokens, sequences*tokens, step.VisionFlows(c.objective))
	t.attending = 4 * float64(t.rows) * float64(tokens) * float64(v.Hidden)
	s := shape{hidden: v.Hidden, inner: v.Inner, heads: v.Heads, kv: v.Heads, width: v.Hidden / v.Heads, bias: true, norm: 2, sequences: sequences}
	out := shard.Tower{Role: shard.Vision, HiddenBytes: bytesOf(t.most, v.Hidden), Flows: t.flows}
	full := c.method == adapter.Full
	for i := range c.Config.FeatureBlocks {
		out.Blocks = append(out.Blocks, t.block(s, i > 0 || full))
	}
	first, last := &out.Blocks[0], &out.Blocks[len(out.Blocks)-1]
	patch := v.Channels * v.Patch * v.Patch
	t.parameters(first, v.Hidden, v.Hidden*patch, tokens*v.Hidden, v.Hidden, v.Hidden)
	embedding := 2 * float64(t.rows) * float64(v.Hidden) * float64(patch)
	first.Forward += embedding
	first.Scratch = max(first.Scratch, pooled(t.most, patch)+2*pooled(t.most, v.Hidden)+pooled(tokens, v.Hidden))
	if full {
		first.Backward += embedding
		first.Activations += pooled(t.most, patch) + pooled(t.most, v.Hidden) + 2*pooled(1, t.most)
	}
	// The rows of the last block's output that are patches are gathered.
	if !c.Config.KeepClass {
		last.Activations += pooled(1, t.most)
		last.Scratch += pooled(t.most, v.Hidden)
	}
	// Blocks above the feature layer and the last norm are held to be written out.
	unused := shard.Block{}
	other := *c
	other.method = adapter.LoRA // or full training would count them
	frozen := *t
	frozen.cost, frozen.masked = &other, false
	for range v.Blocks - c.Config.FeatureBlocks {
		b := frozen.block(s, false)
		unused.Weights += b.Weights
	}
	frozen.parameters(&unused, v.Hidden, v.Hidden)
	last.Weights += unused.Weights
	return out
}

// language returns the profile of the projector, the LLaMA decoder and its head.
func (c *cost) language() shard.Tower {
	l := c.Config.Language
	t := c.newTower(step.Language, c.LanguageBytes, c.samples*c.length, c.samples*c.longest, step.LanguageFlows(c.objective))
	// Causal: a token sees half of the others.
	t.attending = 2 * float64(t.rows) * float64(c.length) * float64(l.Heads*l.HeadDim)
	s := shape{hidden: l.Hidden, inner: l.Inner, heads: l.Heads, kv: l.KVHeads, width: l.HeadDim, gated: true, norm: 1, sequences: c.samples}
	out := shard.Tower{Role: shard.Language, HiddenBytes: bytesOf(t.most, l.Hidden), Flows: t.flows, Whole: l.Tied,
		// Two rotary tables of half a head's width.
		Fixed: 4 * int64(l.MaxPositions) * int64(l.HeadDim)}
	for range l.Blocks {
		out.Blocks = append(out.Blocks, t.block(s, true))
	}
	c.embed(t, &out.Blocks[0])
	c.finish(t, &out.Blocks[len(out.Blocks)-1])
	return out
}

// embed adds the projector and the token embedding to the first block.
func (c *cost) embed(t *tower, first *shard.Block) {
	l := c.Config.Language
	features := c.samples * c.Config.FeaturesPerImage()
	rows, most := features*c.images, features*c.mostImages
	t.linear(first, rows, l.Hidden, c.Config.Vision.Hidden, c.Config.ProjectorBias, false, true, true)
	t.linear(first, rows, l.Hidden, l.Hidden, c.Config.ProjectorBias, false, true, true)
	t.parameters(first, l.Vocabulary*l.Hidden)
	first.Activations += pooled(most, l.Hidden) + 2*pooled(1, t.most)
	if c.method == adapter.Full || c.job.Adapter.Projector {
		first.Activations += pooled(most, c.Config.Vision.Hidden)
	}
	if c.method == adapter.Full && l.Tied {
		first.Scratch += pooled(l.Vocabulary, l.Hidden)
	}
}

// finish adds the last norm, the head and the loss to the last block. Only rows
// that enter the loss pass the head.
func (c *cost) finish(t *tower, last *shard.Block) {
	l := c.Config.Language
	t.parameters(last, l.Hidden)
	if !l.Tied {
		t.parameters(last, l.Vocabulary*l.Hidden)
	}
	rows, most := t.rows, t.most
	all := c.objective.Distils() && c.objective.Reduction == objective.BatchMean
	if !all {
		// Image tokens are never answers.
		most = max(0, c.samples*(c.longest-c.mostImages*c.Config.FeaturesPerImage()))
		if c.Samples.Answers > 0 {
			rows = min(rows, c.samples*c.Samples.Answers)
		}
		// What is known of samples bounds what is likely; a margin of four covers
		// microbatches with longer answers.
		if c.Samples.Answers > 0 {
			most = min(most, 4*c.samples*c.Samples.Answers)
		}
	}
	head := 2 * float64(rows) * float64(l.Vocabulary) * float64(l.Hidden)
	last.Forward += head
	last.Backward += head
	if c.method == adapter.Full {
		last.Backward += head
	}
	stream, gathered, flows := pooled(t.most, l.Hidden), pooled(most, l.Hidden), int64(t.flows)
	logits := pooled(min(most, step.ChunkRows(l.Vocabulary)), l.Vocabulary)
	// The norm's input, and the gradient of the rows that enter the loss.
	last.Activations += stream + pooled(1, t.most) + gathered
	// Rows of all flows wait for the last flow; then there are the logits of a chunk.
	last.Scratch = max(last.Scratch+(flows-1)*gathered+stream, flows*(gathered+logits)+pooled(most, 2), 2*stream)
}
