package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/data"
	"ressa/trainer/demo"
	"ressa/trainer/job"
	"ressa/trainer/model/llava"
)

// patch is the side of a patch of the smolvlm model, in pixels.
const patch = 16

// open makes the model and the batches, and writes the model's folders.
func (t Task) open(ctx context.Context, d kernels.Device, dir string) (*llava.Model, []*data.Batch, error) {
	make := t.random
	if t.Model == "demo" {
		make = t.demo
	}
	m, config, batches, err := make(ctx, d, dir)
	if err != nil {
		return nil, nil, err
	}
	s, err := d.NewStream()
	if err == nil {
		err = errors.Join(writeModel(ctx, s, filepath.Join(dir, narrowModel), m, config, safetensors.BF16),
			writeModel(ctx, s, filepath.Join(dir, wideModel), m, config, safetensors.F32), s.Close())
	}
	if err != nil {
		m.Close()
		return nil, nil, err
	}
	return m, batches, nil
}

// demo opens the shipped model with the first batch of its own job.
func (t Task) demo(ctx context.Context, d kernels.Device, dir string) (*llava.Model, []byte, []*data.Batch, error) {
	shipped := filepath.Join(dir, "shipped")
	if err := demo.Write(shipped); err != nil {
		return nil, nil, nil, err
	}
	j, err := api.ParseJob("demo job", strings.NewReader(api.DemoJob()))
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := job.OpenSubject(ctx, d, job.SubjectOptions{Dir: shipped, Template: j.Data.Template, MaxLength: j.Data.MaxLength})
	if err != nil {
		return nil, nil, nil, err
	}
	defer s.Close()
	set, err := job.OpenData(ctx, "data.train", j.Data.Train, j.Seed)
	if err != nil {
		return nil, nil, nil, err
	}
	order := data.Order(j.Seed, 0, t.Microbatches*t.Samples, set.Len())
	var batches []*data.Batch
	for m := range t.Microbatches {
		var samples []data.Sample
		for _, i := range order[m*t.Samples : (m+1)*t.Samples] {
			x, err := set.Example(i)
			if err != nil {
				return nil, nil, nil, err
			}
			sample, err := s.Encoder.Encode(x)
			if err != nil {
				return nil, nil, nil, err
			}
			samples = append(samples, sample)
		}
		b, err := data.Collate(samples, s.Pad)
		if err != nil {
			return nil, nil, nil, err
		}
		batches = append(batches, &b)
	}
	m, err := llava.Open(ctx, d, shipped, llava.Options{})
	return m, s.Config, batches, err
}

// random makes a LLaVA of the sizes of SmolVLM-256M, without what that family has
// and this one has not: SigLIP's lack of a class token, and pixel shuffle. So the
// language tower gets a token for every patch, 1024 at 512 pixels, not 64.
func (t Task) random(ctx context.Context, d kernels.Device, _ string) (*llava.Model, []byte, []*data.Batch, error) {
	const image, vocabulary = 49190, 49280
	c := map[string]any{
		"architectures": []string{llava.Architecture}, "model_type": "llava", "image_token_index": image,
		"multimodal_projector_bias": true, "projector_hidden_act": "gelu", "vision_feature_layer": -1,
		"vision_feature_select_strategy": "default", "tie_word_embeddings": true, "torch_dtype": "bfloat16",
		"vision_config": map[string]any{
			"model_type": "clip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
			"num_channels": 3, "image_size": t.Pixels, "patch_size": patch, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
			"initializer_range": 0.02, "projection_dim": 768,
		},
		"text_config": map[string]any{
			"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
			"num_key_value_heads": 3, "head_dim": 64, "hidden_act": "silu", "vocab_size": vocabulary, "rms_norm_eps": 1e-5, "rope_theta": 100000.0,
			"max_position_embeddings": 8192, "initializer_range": 0.041666666666666664, "tie_word_embeddings": true,
		},
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, nil, nil, err
	}
	config, err := llava.ParseConfig(raw)
	if err != nil {
		return nil, nil, nil, err
	}
	var batches []*data.Batch
	for m := range t.Microbatches {
		b, err := t.noise(config, m)
		if err != nil {
			return nil, nil, nil, err
		}
		batches = append(batches, b)
	}
	m, err := llava.New(ctx, d, config, t.Seed, llava.Options{})
	return m, raw, batches, err
}

// writeModel writes a model's folder in a dtype.
func writeModel(ctx context.Context, s kernels.Stream, dir string, m *llava.Model, config []byte, dtype safetensors.DType) error {
	var entries []safetensors.Entry
	for _, p := range m.Params() {
		entries = append(entries, safetensors.Entry{Name: p.Name, DType: dtype, Shape: p.Shape, Write: func(w io.Writer) error {
			raw := make([]byte, p.Value.Bytes())
			s.Download(raw, p.Value)
			if err := s.Synchronize(ctx); err != nil {
				return err
			}
			stored := safetensors.BF16
			if p.Value.DType == kernels.F32 {
				stored = safetensors.F32
			}
			values := make([]float32, p.Value.Len())
			if err := safetensors.DecodeFloat32(values, raw, stored); err != nil {
				return err
			}
			// Both folders hold what bf16 can say.
			narrow := make([]byte, 2*len(values))
			if err := safetensors.EncodeFloat32(narrow, values, safetensors.BF16); err != nil {
				return err
			}
			out := narrow
			if dtype == safetensors.F32 {
				if err := safetensors.DecodeFloat32(values, narrow, safetensors.BF16); err != nil {
					return err
				}
				out = kernels.EncodeF32(values)
			}
			_, err := w.Write(out)
			return err
		}})
	}
	if err := hf.Write(ctx, dir, hf.Spec{Config: config, Weights: entries}); err != nil {
		return fmt.Errorf("write the model of a task: %w", err)
	}
	return nil
}
