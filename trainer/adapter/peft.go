package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/checkpoint/strictjson"
)

// The files of PEFT's layout, and the prefix of its tensor names: the wrapped
// model stands at base_model.model, and the name of the adapter is left out.
const (
	peftConfigFile  = "adapter_config.json"
	peftWeightsFile = "adapter_model.safetensors"
	peftPrefix      = "base_model.model."
)

// maxPEFTConfig bounds the size of adapter_config.json.
const maxPEFTConfig = 16 << 20

// ErrNotPEFT is returned for a folder that holds no LoRA adapter in PEFT's
// layout, or one with features that have no meaning here.
var ErrNotPEFT = errors.New("not a LoRA adapter in PEFT's layout")

// peftConfig is the part of PEFT's LoraConfig (version 0.21) that we write and
// read. A module's rank and alpha are those of the pattern that matches it, else
// R and Alpha.
type peftConfig struct {
	Type          string             `json:"peft_type"`
	Task          *string            `json:"task_type"`
	Base          string             `json:"base_model_name_or_path"`
	Inference     bool               `json:"inference_mode"`
	R             int                `json:"r"`
	Alpha         float64            `json:"lora_alpha"`
	Dropout       float64            `json:"lora_dropout"`
	Bias          string             `json:"bias"`
	FanInFanOut   bool               `json:"fan_in_fan_out"`
	InitWeights   json.RawMessage    `json:"init_lora_weights,omitempty"`
	RSLoRA        bool               `json:"use_rslora"`
	DoRA          bool               `json:"use_dora"`
	TargetModules json.RawMessage    `json:"target_modules"`
	ModulesToSave json.RawMessage    `json:"modules_to_save"`
	RankPattern   map[string]int     `json:"rank_pattern"`
	AlphaPattern  map[string]float64 `json:"alpha_pattern"`
}

// Factors are A and B of one module as they stand in a file.
type Factors struct {
	Module  string    // canonical, as "model.language_model.layers.0.mlp.up_proj"
	Rank    int       //
	Alpha   float64   //
	In, Out int       //
	A       []float32 // (Rank, In)
	B       []float32 // (Out, Rank)
}

// ReadPEFT reads an adapter folder in PEFT's layout; modules come sorted. F32,
// BF16 and F16 factors are read. It fails with [ErrNotPEFT] on other adapter
// types and on DoRA, rank-stabilised or transposed LoRA, trained biases and
// modules_to_save, and on factors that do not fit each other or the
// configuration.
func ReadPEFT(dir string) ([]Factors, error) {
	path := filepath.Join(dir, peftConfigFile)
	config, err := readPEFTConfig(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f, err := safetensors.Open(filepath.Join(dir, peftWeightsFile))
	if err != nil {
		return nil, err
	}
	factors, err := config.factors(f)
	return factors, errors.Join(err, f.Close())
}

func readPEFTConfig(path string) (*peftConfig, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPEFTConfig+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(data) > maxPEFTConfig {
		return nil, fmt.Errorf("more than %d bytes", maxPEFTConfig)
	}
	return parsePEFTConfig(data)
}

func parsePEFTConfig(data []byte) (*peftConfig, error) {
	if err := strictjson.Object(data); err != nil {
		return nil, err
	}
	var c peftConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	set := func(m json.RawMessage) bool { return len(m) > 0 && string(m) != "null" && string(m) != "[]" }
	switch {
	case c.Type != "LORA":
		return nil, fmt.Errorf("peft_type: found %q, expected \"LORA\": %w", c.Type, ErrNotPEFT)
	case c.RSLoRA || c.DoRA || c.FanInFanOut:
		return nil, fmt.Errorf("use_rslora, use_dora and fan_in_fan_out must be false: %w", ErrNotPEFT)
	case c.Bias != "" && c.Bias != "none":
		return nil, fmt.Errorf("bias: found %q, expected \"none\": %w", c.Bias, ErrNotPEFT)
	case set(c.ModulesToSave):
		return nil, fmt.Errorf("modules_to_save: expected none: %w", ErrNotPEFT)
	}
	return &c, nil
}

// factors pairs the tensors of a file.
func (c *peftConfig) factors(f *safetensors.File) ([]Factors, error) {
	lookup, err := c.lookup()
	if err != nil {
		return nil, err
	}
	var out []Factors
	for _, name := range f.Names() {
		if strings.HasSuffix(name, ".lora_B.weight") {
			if !f.Has(strings.TrimSuffix(name, ".lora_B.weight") + ".lora_A.weight") {
				return nil, fmt.Errorf("%s: tensor %q has no lora_A beside it", f.Path(), name)
			}
			continue
		}
		module, ok := strings.CutSuffix(name, ".lora_A.weight")
		if !ok || !strings.HasPrefix(name, peftPrefix) {
			return nil, fmt.Errorf("%s: tensor %q: expected %sMODULE.lora_A.weight or lora_B.weight: %w", f.Path(), name, peftPrefix, ErrNotPEFT)
		}
		x := Factors{Module: strings.TrimPrefix(module, peftPrefix)}
		if x.Rank, x.Alpha, err = lookup(x.Module); err != nil {
			return nil, err
		}
		if err := x.read(f, name, module+".lora_B.weight"); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path(), err)
		}
		out = append(out, x)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no tensors: %w", f.Path(), ErrNotPEFT)
	}
	return out, nil
}

func (x *Factors) read(f *safetensors.File, nameA, nameB string) error {
	a, err := f.Tensor(nameA)
	if err != nil {
		return err
	}
	b, err := f.Tensor(nameB)
	if err != nil {
		return err
	}
	if len(a.Shape) != 2 || len(b.Shape) != 2 || a.Shape[0] != x.Rank || b.Shape[1] != x.Rank || x.Rank < 1 {
		return fmt.Errorf("module %q: lora_A %v and lora_B %v, expected (r, in) and (out, r) with r = %d of the configuration", x.Module, a.Shape, b.Shape, x.Rank)
	}
	x.In, x.Out = a.Shape[1], b.Shape[0]
	if x.A, err = a.Float32(); err != nil {
		return fmt.Errorf("tensor %q: %w", nameA, err)
	}
	if x.B, err = b.Float32(); err != nil {
		return fmt.Errorf("tensor %q: %w", nameB, err)
	}
	return nil
}

// lookup returns the function that finds a module's rank and alpha by PEFT's
// rule: a key of a pattern is a regular expression for the end of the path, from
// a dot on. PEFT takes the first match in file order; we refuse what depends on it.
func (c *peftConfig) lookup() (func(module string) (int, float64, error), error) {
	ranks, err := compile(c.RankPattern)
	if err != nil {
		return nil, fmt.Errorf("rank_pattern: %w", err)
	}
	alphas, err := compile(c.AlphaPattern)
	if err != nil {
		return nil, fmt.Errorf("alpha_pattern: %w", err)
	}
	return func(module string) (int, float64, error) {
		r, err := match(ranks, module, c.R)
		if err != nil {
			return 0, 0, fmt.Errorf("rank_pattern: %w", err)
		}
		alpha, err := match(alphas, module, c.Alpha)
		if err != nil {
			return 0, 0, fmt.Errorf("alpha_pattern: %w", err)
		}
		return r, alpha, nil
	}, nil
}

type rule[T any] struct {
	key   string
	exp   *regexp.Regexp
	value T
}

func compile[T any](patterns map[string]T) ([]rule[T], error) {
	var out []rule[T]
	for key, value := range patterns {
		exp, err := regexp.Compile(`^(?:.*\.)?(?:` + key + `)$`)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
		out = append(out, rule[T]{key, exp, value})
	}
	slices.SortFunc(out, func(a, b rule[T]) int { return strings.Compare(a.key, b.key) })
	return out, nil
}

func match[T comparable](rules []rule[T], module string, fallback T) (T, error) {
	var first *rule[T]
	for i := range rules {
		r := &rules[i]
		if r.key == module { // our own files name modules in full
			return r.value, nil
		}
		if !r.exp.MatchString(module) {
			continue
		}
		if first != nil && first.value != r.value {
			return fallback, fmt.Errorf("keys %q and %q both match %q with different values", first.key, r.key, module)
		}
		first = r
	}
	if first == nil {
		return fallback, nil
	}
	return first.value, nil
}
