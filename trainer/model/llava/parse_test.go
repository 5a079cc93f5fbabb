package llava_test

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/trainer/model/llava"
)

// The published llava-1.5-7b-hf config.json, as transformers 4.37 wrote it, but
// for the fields that no computation reads.
const published = `{
  "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100, "image_token_index": 32000,
  "model_type": "llava", "pad_token_id": 32001, "projector_hidden_act": "gelu", "torch_dtype": "float16",
  "text_config": {"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096,
    "model_type": "llama", "rms_norm_eps": 1e-05, "torch_dtype": "float16", "vocab_size": 32064},
  "tie_word_embeddings": false, "transformers_version": "4.36.0.dev0",
  "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model",
    "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768, "vocab_size": 32000},
  "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "vocab_size": 32064}`

func sevenB() llava.Config {
	return llava.Config{
		Vision: llava.VisionConfig{Hidden: 1024, Inner: 4096, Blocks: 24, Heads: 16, Channels: 3, Image: 336, Patch: 14,
			Activation: kernels.QuickGELU, Epsilon: 1e-5, InitStd: 0.02},
		Language: llava.LanguageConfig{Hidden: 4096, Inner: 11008, Blocks: 32, Heads: 32, KVHeads: 32, HeadDim: 128, Vocabulary: 32064,
			MaxPositions: 4096, RopeTheta: 10000, Activation: kernels.SiLU, Epsilon: 1e-5, InitStd: 0.02},
		ImageToken: 32000, ProjectorActivation: kernels.GELU, ProjectorBias: true, FeatureBlocks: 23,
	}
}

func TestParsePublishedConfig(t *testing.T) {
	got, err := llava.ParseConfig([]byte(published))
	if err != nil {
		t.Fatal(err)
	}
	if want := sevenB(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if n := got.FeaturesPerImage(); n != 576 {
		t.Errorf("%d features an image, want 576", n)
	}
}

// change returns the published config with one field, given by its path, set to
// a JSON value, or removed.
func change(t testing.TB, path, value string) []byte {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal([]byte(published), &root); err != nil {
		t.Fatal(err)
	}
	at, parts := root, strings.Split(path, ".")
	for _, p := range parts[:len(parts)-1] {
		at = at[p].(map[string]any)
	}
	last := parts[len(parts)-1]
	if value == "" {
		delete(at, last)
	} else {
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			t.Fatal(err)
		}
		at[last] = v
	}
	raw, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		path, value string
		want        func(*llava.Config)
	}{
		{"vision_config", "", func(*llava.Config) {}}, // the same ViT-L/14-336 by default
		{"vision_feature_layer", "", func(*llava.Config) {}},
		{"vision_feature_layer", "-1", func(c *llava.Config) { c.FeatureBlocks = 24 }},
		{"vision_feature_layer", "0", func(c *llava.Config) { c.FeatureBlocks = 0 }},
		{"vision_feature_layer", "5", func(c *llava.Config) { c.FeatureBlocks = 5 }},
		{"vision_feature_select_strategy", `"full"`, func(c *llava.Config) { c.KeepClass = true }},
		{"projector_hidden_act", `"relu"`, func(c *llava.Config) { c.ProjectorActivation = kernels.ReLU }},
		{"multimodal_projector_bias", "false", func(c *llava.Config) { c.ProjectorBias = false }},
		{"image_token_index", "", func(*llava.Config) {}},
		{"text_config.num_key_value_heads", "8", func(c *llava.Config) { c.Language.KVHeads = 8 }},
		{"text_config.head_dim", "64", func(c *llava.Config) { c.Language.HeadDim = 64 }},
		{"text_config.rope_theta", "5e5", func(c *llava.Config) { c.Language.RopeTheta = 5e5 }},
		{"text_config.rope_scaling", "null", func(*llava.Config) {}},
		{"text_config.rope_parameters", `{"rope_type": "default", "rope_theta": 77}`, func(c *llava.Config) { c.Language.RopeTheta = 77 }},
		{"text_config.tie_word_embeddings", "true", func(c *llava.Config) { c.Language.Tied = true }},
		{"tie_word_embeddings", "true", func(c *llava.Config) { c.Language.Tied = true }},
		{"vision_config.hidden_act", `"gelu"`, func(c *llava.Config) { c.Vision.Activation = kernels.GELU }},
	} {
		want := sevenB()
		c.want(&want)
		got, err := llava.ParseConfig(change(t, c.path, c.value))
		if err != nil {
			t.Errorf("%s %s: %v", c.path, c.value, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s %s: got %+v", c.path, c.value, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		path, value string
		unsupported bool
		names       string // what the error must name; "" means path
	}{
		{"model_type", `"llava_next"`, true, ""},
		{"model_type", "", true, ""},
		{"architectures", `["LlavaNextForConditionalGeneration"]`, true, ""},
		{"quantization_config", `{"bits": 4}`, true, ""},
		{"vision_config.model_type", `"siglip_vision_model"`, true, ""},
		{"text_config.model_type", `"mistral"`, true, ""},
		{"text_config.rope_scaling", `{"type": "linear", "factor": 2}`, true, ""},
		{"text_config.rope_parameters", `{"rope_type": "llama3"}`, true, ""},
		{"text_config.rope_theta", "-1", false, ""},
		{"text_config.attention_bias", "true", true, ""},
		{"text_config.mlp_bias", "true", true, ""},
		{"text_config.hidden_act", `"mish"`, true, ""},
		{"projector_hidden_act", `"tanh"`, true, ""},
		{"vision_feature_layer", "[-2, -5]", true, ""},
		{"vision_feature_layer", "26", false, ""},
		{"vision_feature_select_strategy", `"cls"`, true, ""},
		{"vision_config.num_hidden_layers", "-3", false, "vision_config.num_hidden_layers is -3, want 0 to"},
		{"text_config.num_hidden_layers", "-1", false, "text_config.num_hidden_layers is -1, want 0 to"},
		{"vision_config.num_hidden_layers", "1.5", false, "vision_config.num_hidden_layers is number 1.5, want an integer"},
		{"text_config.vocab_size", "1e99", false, "text_config.vocab_size is number 1e+99, want an integer"},
		{"text_config", "3", false, "text_config is number, want an object"},
		{"vision_config.num_attention_heads", "7", false, ""},
		{"vision_config.patch_size", "0", false, ""},
		{"vision_config.patch_size", "400", false, ""},
		{"text_config.num_attention_heads", "0", false, ""},
		{"text_config.num_key_value_heads", "5", false, ""},
		{"text_config.head_dim", "5", false, ""},
		{"text_config.hidden_size", "99999999999", false, ""},
		{"text_config.rms_norm_eps", "0", false, ""},
		{"text_config.max_position_embeddings", "16000000", false, ""},
		{"vision_config.image_size", "16000000", false, ""},
		{"text_config.vocab_size", `"many"`, false, ""},
	} {
		if c.names == "" {
			c.names = c.path
		}
		_, err := llava.ParseConfig(change(t, c.path, c.value))
		if err == nil {
			t.Errorf("%s %s: no error", c.path, c.value)
			continue
		}
		for _, never := range []string{"Go ", "llava.", "File"} {
			if strings.Contains(err.Error(), never) {
				t.Errorf("%s %s: error %v", c.path, c.value, err)
			}
		}
		last := c.names
		if !strings.Contains(last, " ") {
			last = last[strings.LastIndex(last, ".")+1:]
		}
		if !strings.Contains(err.Error(), last) || errors.Is(err, llava.ErrUnsupported) != c.unsupported {
			t.Errorf("%s %s: error %v", c.path, c.value, err)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(published))
	f.Add([]byte(`{"model_type":"llava"}`))
	if raw, err := os.ReadFile("testdata/tiny/config.json"); err == nil {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := llava.ParseConfig(raw)
		if err != nil {
			return
		}
		if c.FeaturesPerImage() < 1 || c.Check() != nil {
			t.Errorf("accepted %+v", c)
		}
	})
}
