package llava

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"ressa/kernels"
)

// Architecture is the entry of "architectures" in config.json.
const Architecture = "LlavaForConditionalGeneration"

// ErrUnsupported is returned for a config.json of another architecture or with
// an option that this package does not compute.
var ErrUnsupported = errors.New("not supported")

// file mirrors config.json. Pointers tell a missing field from a zero one; the
// defaults are those of transformers' LlavaConfig.
type file struct {
	Architectures   []string        `json:"architectures"`
	ModelType       string          `json:"model_type"`
	Vision          *visionFile     `json:"vision_config"`
	Text            *textFile       `json:"text_config"`
	ImageTokenIndex *int            `json:"image_token_index"`
	ImageTokenID    *int            `json:"image_token_id"`
	ProjectorAct    *string         `json:"projector_hidden_act"`
	ProjectorBias   *bool           `json:"multimodal_projector_bias"`
	FeatureLayer    json.RawMessage `json:"vision_feature_layer"`
	FeatureSelect   *string         `json:"vision_feature_select_strategy"`
	Tied            *bool           `json:"tie_word_embeddings"`
	Quantization    json.RawMessage `json:"quantization_config"`
}

type visionFile struct {
	ModelType string   `json:"model_type"`
	Hidden    *int     `json:"hidden_size"`
	Inner     *int     `json:"intermediate_size"`
	Blocks    *int     `json:"num_hidden_layers"`
	Heads     *int     `json:"num_attention_heads"`
	Channels  *int     `json:"num_channels"`
	Image     *int     `json:"image_size"`
	Patch     *int     `json:"patch_size"`
	Act       *string  `json:"hidden_act"`
	Epsilon   *float64 `json:"layer_norm_eps"`
	InitStd   *float64 `json:"initializer_range"`
}

type textFile struct {
	ModelType      string    `json:"model_type"`
	Vocabulary     *int      `json:"vocab_size"`
	Hidden         *int      `json:"hidden_size"`
	Inner          *int      `json:"intermediate_size"`
	Blocks         *int      `json:"num_hidden_layers"`
	Heads          *int      `json:"num_attention_heads"`
	KVHeads        *int      `json:"num_key_value_heads"`
	HeadDim        *int      `json:"head_dim"`
	Act            *string   `json:"hidden_act"`
	MaxPositions   *int      `json:"max_position_embeddings"`
	Epsilon        *float64  `json:"rms_norm_eps"`
	InitStd        *float64  `json:"initializer_range"`
	Tied           *bool     `json:"tie_word_embeddings"`
	RopeTheta      *float64  `json:"rope_theta"`
	RopeScaling    *ropeFile `json:"rope_scaling"`
	RopeParameters *ropeFile `json:"rope_parameters"`
	AttentionBias  *bool     `json:"attention_bias"`
	MLPBias        *bool     `json:"mlp_bias"`
}

type ropeFile struct {
	Type    *string  `json:"rope_type"`
	OldType *string  `json:"type"`
	Theta   *float64 `json:"rope_theta"`
	Partial *float64 `json:"partial_rotary_factor"`
}

// ParseConfig reads the contents of a config.json. Missing fields get the values
// that transformers fills in. Every error names the field; the one for another
// architecture or an option that is not computed wraps [ErrUnsupported].
func ParseConfig(raw []byte) (Config, error) {
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return Config{}, fmt.Errorf("config.json: %s is %s, want %s", wrong.Field, wrong.Value, wanted(wrong.Type.Kind()))
		}
		return Config{}, fmt.Errorf("config.json: %w", err)
	}
	if f.ModelType != "llava" {
		return Config{}, unsupported("model_type", f.ModelType, `"llava"`)
	}
	if len(f.Architectures) > 0 && !slices.Contains(f.Architectures, Architecture) {
		return Config{}, unsupported("architectures", f.Architectures, Architecture)
	}
	if len(f.Quantization) > 0 && string(f.Quantization) != "null" {
		return Config{}, unsupported("quantization_config", "one", "none")
	}
	c := Config{ProjectorBias: or(f.ProjectorBias, true), ImageToken: or(f.ImageTokenIndex, or(f.ImageTokenID, 32000))}
	var err error
	if c.Vision, err = f.Vision.parse(); err != nil {
		return Config{}, err
	}
	if c.Language, err = f.Text.parse(); err != nil {
		return Config{}, err
	}
	c.Language.Tied = c.Language.Tied || or(f.Tied, false)
	if c.ProjectorActivation, err = activation("projector_hidden_act", or(f.ProjectorAct, "gelu")); err != nil {
		return Config{}, err
	}
	switch s := or(f.FeatureSelect, "default"); s {
	case "default":
	case "full":
		c.KeepClass = true
	default:
		return Config{}, unsupported("vision_feature_select_strategy", s, `"default" or "full"`)
	}
	// The sizes first: a count of layers that is wrong is no fault of the feature layer.
	if err := c.Check(); err != nil {
		return Config{}, err
	}
	if c.FeatureBlocks, err = featureBlocks(f.FeatureLayer, c.Vision.Blocks); err != nil {
		return Config{}, err
	}
	return c, nil
}

// wanted names what a field of config.json takes.
func wanted(k reflect.Kind) string {
	switch k {
	case reflect.Int:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

// featureBlocks turns vision_feature_layer, an index into the hidden states
// (embedding first, then every block's output), into the number of blocks to run.
func featureBlocks(raw json.RawMessage, blocks int) (int, error) {
	layer := -2
	if len(raw) > 0 && string(raw) != "null" {
		if err := json.Unmarshal(raw, &layer); err != nil {
			return 0, unsupported("vision_feature_layer", string(raw), "one integer")
		}
	}
	n := layer
	if n < 0 {
		n += blocks + 1
	}
	if n < 0 || n > blocks {
		return 0, fmt.Errorf("config.json: vision_feature_layer is %d, want %d to %d for %d layers", layer, -blocks-1, blocks, blocks)
	}
	return n, nil
}

func (f *visionFile) parse() (VisionConfig, error) {
	if f == nil {
		// What LlavaConfig uses where the file has no vision_config: CLIP ViT-L/14-336.
		return VisionConfig{Hidden: 1024, Inner: 4096, Blocks: 24, Heads: 16, Channels: 3, Image: 336, Patch: 14,
			Activation: kernels.QuickGELU, Epsilon: 1e-5, InitStd: 0.02}, nil
	}
	if f.ModelType != "" && f.ModelType != "clip_vision_model" {
		return VisionConfig{}, unsupported("vision_config.model_type", f.ModelType, `"clip_vision_model"`)
	}
	act, err := activation("vision_config.hidden_act", or(f.Act, "quick_gelu"))
	return VisionConfig{
		Hidden: or(f.Hidden, 768), Inner: or(f.Inner, 3072), Blocks: or(f.Blocks, 12), Heads: or(f.Heads, 12),
		Channels: or(f.Channels, 3), Image: or(f.Image, 224), Patch: or(f.Patch, 32),
		Activation: act, Epsilon: float32(or(f.Epsilon, 1e-5)), InitStd: float32(or(f.InitStd, 0.02)),
	}, err
}

func (f *textFile) parse() (LanguageConfig, error) {
	if f == nil {
		f = &textFile{}
	}
	if f.ModelType != "" && f.ModelType != "llama" {
		return LanguageConfig{}, unsupported("text_config.model_type", f.ModelType, `"llama"`)
	}
	if or(f.AttentionBias, false) {
		return LanguageConfig{}, unsupported("text_config.attention_bias", true, "false")
	}
	if or(f.MLPBias, false) {
		return LanguageConfig{}, unsupported("text_config.mlp_bias", true, "false")
	}
	theta, err := f.rope()
	if err != nil {
		return LanguageConfig{}, err
	}
	act, err := activation("text_config.hidden_act", or(f.Act, "silu"))
	c := LanguageConfig{
		Hidden: or(f.Hidden, 4096), Inner: or(f.Inner, 11008), Blocks: or(f.Blocks, 32), Heads: or(f.Heads, 32),
		Vocabulary: or(f.Vocabulary, 32000), MaxPositions: or(f.MaxPositions, 2048), RopeTheta: theta,
		Activation: act, Epsilon: float32(or(f.Epsilon, 1e-6)), InitStd: float32(or(f.InitStd, 0.02)), Tied: or(f.Tied, false),
	}
	c.KVHeads = or(f.KVHeads, c.Heads)
	c.HeadDim = or(f.HeadDim, c.Hidden/max(c.Heads, 1))
	return c, err
}

// rope returns the base of the rotary frequencies: transformers writes it into
// rope_parameters from version 5 on, beside a rope_scaling of null before.
func (f *textFile) rope() (float64, error) {
	theta := or(f.RopeTheta, 10000)
	for _, r := range []struct {
		field string
		f     *ropeFile
	}{{"text_config.rope_scaling", f.RopeScaling}, {"text_config.rope_parameters", f.RopeParameters}} {
		if r.f == nil {
			continue
		}
		if kind := or(r.f.Type, or(r.f.OldType, "default")); kind != "default" {
			return 0, unsupported(r.field+".rope_type", kind, `"default"`)
		}
		if partial := or(r.f.Partial, 1); partial != 1 {
			return 0, unsupported(r.field+".partial_rotary_factor", partial, "1")
		}
		theta = or(r.f.Theta, theta)
	}
	if !(theta > 0) || math.IsInf(theta, 0) {
		return 0, fmt.Errorf("config.json: text_config.rope_theta is %v, want a positive number", theta)
	}
	return theta, nil
}

func activation(field, name string) (kernels.Activation, error) {
	switch name {
	case "gelu":
		return kernels.GELU, nil
	case "gelu_new", "gelu_pytorch_tanh":
		return kernels.GELUTanh, nil
	case "quick_gelu":
		return kernels.QuickGELU, nil
	case "silu", "swish":
		return kernels.SiLU, nil
	case "relu":
		return kernels.ReLU, nil
	}
	return 0, unsupported(field, name, "gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, silu or relu")
}

func unsupported(field string, found any, want string) error {
	if s, ok := found.(string); ok && s == "" {
		found = "missing"
	}
	return fmt.Errorf("config.json: %s is %v, %w: want %s", field, found, ErrUnsupported, want)
}

// or returns what p points to, or a default.
func or[T any](p *T, missing T) T {
	if p == nil {
		return missing
	}
	return *p
}
