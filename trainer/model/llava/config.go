package llava

import (
	"ressa/kernels"
)

// Config is what a model of the family is built from.
type Config struct {
	Vision   VisionConfig
	Language LanguageConfig

	ImageToken          int                // the token that stands for one image feature
	ProjectorActivation kernels.Activation // between the projector's two linears
	ProjectorBias       bool
	// FeatureBlocks is the number of vision blocks that run: those up to the
	// layer that config.json names (vision_feature_layer).
	FeatureBlocks int
	// KeepClass keeps the class token among the features (strategy "full").
	KeepClass bool
}

// VisionConfig describes the CLIP vision transformer.
type VisionConfig struct {
	Hidden, Inner, Blocks, Heads int
	Channels, Image, Patch       int // pixels; images are square
	Activation                   kernels.Activation
	Epsilon                      float32
	InitStd                      float32
}

// LanguageConfig describes the LLaMA decoder.
type LanguageConfig struct {
	Hidden, Inner, Blocks   int
	Heads, KVHeads, HeadDim int
	Vocabulary              int
	MaxPositions            int // positions that the rotary tables cover
	RopeTheta               float64
	Activation              kernels.Activation
	Epsilon                 float32
	InitStd                 float32
	Tied                    bool // the head is the token embedding
}

// Patches returns the patches of one image.
func (c VisionConfig) Patches() int { return (c.Image / c.Patch) * (c.Image / c.Patch) }

// Tokens returns the rows of one image in the vision transformer: the class
// token and the patches.
func (c VisionConfig) Tokens() int { return c.Patches() + 1 }

// PixelsPerImage returns the values of one image in a batch.
func (c VisionConfig) PixelsPerImage() int { return c.Channels * c.Image * c.Image }

// FeaturesPerImage returns how many rows of the language model one image fills.
func (c Config) FeaturesPerImage() int {
	if c.KeepClass {
		return c.Vision.Tokens()
	}
	return c.Vision.Patches()
}
