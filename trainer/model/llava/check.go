package llava

import (
	"fmt"

	"ressa/trainer/data"
)

// The bounds of what a config.json may ask for: far above any model, and low
// enough that no product of sizes overflows.
const (
	sizeLimit   = 1 << 24
	imageLimit  = 1 << 14 // pixels of a side, and channels
	rotaryLimit = 1 << 28 // positions times head width: 1 GiB of rotary tables
)

// Check verifies that the sizes are positive and fit together. Errors name the
// field of config.json.
func (c Config) Check() error {
	v, t := c.Vision, c.Language
	for _, s := range []struct {
		field string
		value int
		least int
	}{
		{"vision_config.hidden_size", v.Hidden, 1}, {"vision_config.intermediate_size", v.Inner, 1},
		{"vision_config.num_hidden_layers", v.Blocks, 0}, {"vision_config.num_attention_heads", v.Heads, 1},
		{"vision_config.num_channels", v.Channels, 1}, {"vision_config.image_size", v.Image, 1}, {"vision_config.patch_size", v.Patch, 1},
		{"text_config.hidden_size", t.Hidden, 1}, {"text_config.intermediate_size", t.Inner, 1},
		{"text_config.num_hidden_layers", t.Blocks, 0}, {"text_config.num_attention_heads", t.Heads, 1},
		{"text_config.num_key_value_heads", t.KVHeads, 1}, {"text_config.head_dim", t.HeadDim, 1},
		{"text_config.vocab_size", t.Vocabulary, 1}, {"text_config.max_position_embeddings", t.MaxPositions, 1},
		{"image_token_index", c.ImageToken, 0},
	} {
		if s.value < s.least || s.value > sizeLimit {
			return fmt.Errorf("config.json: %s is %d, want %d to %d", s.field, s.value, s.least, sizeLimit)
		}
	}
	switch {
	case v.Hidden%v.Heads != 0:
		return fmt.Errorf("config.json: vision_config.hidden_size %d is no multiple of num_attention_heads %d", v.Hidden, v.Heads)
	case v.Patch > v.Image:
		return fmt.Errorf("config.json: vision_config.patch_size %d exceeds image_size %d", v.Patch, v.Image)
	case t.Heads%t.KVHeads != 0:
		return fmt.Errorf("config.json: text_config.num_attention_heads %d is no multiple of num_key_value_heads %d", t.Heads, t.KVHeads)
	case v.Image > imageLimit || v.Channels > imageLimit:
		return fmt.Errorf("config.json: vision_config.image_size is %d with num_channels %d, want at most %d", v.Image, v.Channels, imageLimit)
	case t.MaxPositions*t.HeadDim > rotaryLimit:
		return fmt.Errorf("config.json: text_config.max_position_embeddings is %d with head_dim %d, want a product of at most %d",
			t.MaxPositions, t.HeadDim, rotaryLimit)
	case t.HeadDim%2 != 0:
		return fmt.Errorf("config.json: text_config.head_dim %d is odd: rotary positions need pairs", t.HeadDim)
	case c.FeatureBlocks < 0 || c.FeatureBlocks > v.Blocks:
		return fmt.Errorf("llava: %d feature blocks of %d", c.FeatureBlocks, v.Blocks)
	}
	for _, e := range []struct {
		field string
		value float32
	}{{"vision_config.layer_norm_eps", v.Epsilon}, {"text_config.rms_norm_eps", t.Epsilon}} {
		if !(e.value > 0 && e.value < 1) {
			return fmt.Errorf("config.json: %s is %v, want more than 0 and less than 1", e.field, e.value)
		}
	}
	return nil
}

// CheckBatch verifies that the model can compute a batch: the operations on a
// device would only report that some shape is wrong.
func (c Config) CheckBatch(b *data.Batch) error {
	rows := b.Sequences * b.Length
	switch {
	case b.Sequences < 1 || b.Length < 1 || len(b.Tokens) != rows || len(b.Positions) != rows || len(b.Lengths) != b.Sequences:
		return fmt.Errorf("batch of %d sequences of %d has %d tokens, %d positions and %d lengths",
			b.Sequences, b.Length, len(b.Tokens), len(b.Positions), len(b.Lengths))
	case len(b.Pixels) != b.Images*c.Vision.PixelsPerImage():
		return fmt.Errorf("batch has %d pixel values for %d images, the model takes %d for each (%d channels of %d×%d)",
			len(b.Pixels), b.Images, c.Vision.PixelsPerImage(), c.Vision.Channels, c.Vision.Image, c.Vision.Image)
	case len(b.ImageRows) != b.Images*c.FeaturesPerImage():
		return fmt.Errorf("batch has %d image tokens for %d images, the model fills %d for each", len(b.ImageRows), b.Images, c.FeaturesPerImage())
	}
	image := make(map[int32]bool, len(b.ImageRows))
	for _, r := range b.ImageRows {
		if r < 0 || int(r) >= rows || image[r] {
			return fmt.Errorf("batch names image row %d twice or outside its %d rows", r, rows)
		}
		image[r] = true
	}
	for i, n := range b.Lengths {
		if n < 1 || int(n) > b.Length {
			return fmt.Errorf("sequence %d has %d tokens of %d", i, n, b.Length)
		}
	}
	for i, t := range b.Tokens {
		if (t < 0 || int(t) >= c.Language.Vocabulary) && !image[int32(i)] {
			return fmt.Errorf("token %d in row %d is outside the vocabulary of %d", t, i, c.Language.Vocabulary)
		}
		if p := b.Positions[i]; p < 0 || int(p) >= c.Language.MaxPositions {
			return fmt.Errorf("position %d in row %d is outside the %d positions of the model (text_config.max_position_embeddings)", p, i, c.Language.MaxPositions)
		}
	}
	return nil
}
