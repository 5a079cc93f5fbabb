package adapter

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"ressa/kernels"
	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/model"
)

// Part is one tower's attachment with its trained values on a device.
type Part struct {
	Attachment *Attachment
	Lane       *model.Lane // of the tower, with Values
}

// WritePEFT writes the factors of all parts, F32, as adapter_config.json and
// adapter_model.safetensors into dir, which must exist. base names the model that
// the adapter belongs to. PEFT adds s·B·A without a mask: a reader of the files
// must apply the masks itself, as [Merger] does. It returns the hash of the
// weights file, and fails for methods without factors.
func WritePEFT(ctx context.Context, dir, base string, parts []Part) (safetensors.Written, error) {
	config := peftConfig{Type: "LORA", Base: base, Inference: true, Bias: "none", InitWeights: json.RawMessage("true"),
		ModulesToSave: json.RawMessage("null"), RankPattern: map[string]int{}, AlphaPattern: map[string]float64{}}
	var entries []safetensors.Entry
	targets := []string{}
	for _, part := range parts {
		a := part.Attachment
		if !a.Options.Method.LowRank() {
			return safetensors.Written{}, fmt.Errorf("adapter: method %s has no factors that PEFT's layout could hold", a.Options.Method)
		}
		for _, n := range a.layers {
			module := Module(n.Weight.Name)
			targets = append(targets, module)
			// The last tower, the language model, gives the defaults.
			config.R, config.Alpha = a.Options.Rank, a.Options.Alpha
			config.RankPattern[module], config.AlphaPattern[module] = a.Options.Rank, a.Options.Alpha
			for _, slot := range []*model.Slot{n.A, n.B} {
				entries = append(entries, safetensors.Entry{
					Name: peftPrefix + slot.Name, DType: safetensors.F32, Shape: []int{slot.Rows, slot.Cols},
					Write: func(w io.Writer) error {
						data, err := download(ctx, part.Lane, slot.View(part.Lane.Values))
						if err != nil {
							return err
						}
						_, err = w.Write(data)
						return err
					},
				})
			}
		}
	}
	for _, module := range targets {
		if config.RankPattern[module] == config.R && config.AlphaPattern[module] == config.Alpha {
			delete(config.RankPattern, module)
			delete(config.AlphaPattern, module)
		}
	}
	var err error
	if config.TargetModules, err = json.Marshal(targets); err != nil {
		return safetensors.Written{}, err
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return safetensors.Written{}, err
	}
	if err := durable.WriteFile(filepath.Join(dir, peftConfigFile), append(text, '\n')); err != nil {
		return safetensors.Written{}, err
	}
	return safetensors.Write(ctx, filepath.Join(dir, peftWeightsFile), entries, map[string]string{"format": "pt"})
}

// LoadPEFT writes factors that [ReadPEFT] returned into the values of the parts.
// It fails, with values in part written, unless every factor of every part is
// there once, with the shape and the scale of its slot, and nothing is left over.
func LoadPEFT(ctx context.Context, factors []Factors, parts []Part) error {
	byModule := map[string]*Factors{}
	for i := range factors {
		byModule[factors[i].Module] = &factors[i]
	}
	for _, part := range parts {
		if !part.Attachment.Options.Method.LowRank() {
			return fmt.Errorf("adapter: method %s takes no factors", part.Attachment.Options.Method)
		}
		stream := part.Lane.Stream
		for _, n := range part.Attachment.layers {
			module := Module(n.Weight.Name)
			x := byModule[module]
			if x == nil {
				return fmt.Errorf("adapter: the files have no factors for %s", module)
			}
			if x.Rank != n.A.Rows || x.In != n.A.Cols || x.Out != n.B.Rows {
				return fmt.Errorf("adapter: factors of %s are (%d, %d) and (%d, %d), expected rank %d for a weight (%d, %d)",
					module, x.Rank, x.In, x.Out, x.Rank, n.A.Rows, n.Out(), n.In())
			}
			if scale := float32(x.Alpha / float64(x.Rank)); scale != n.Scale {
				return fmt.Errorf("adapter: scale of %s is alpha/r = %v in the files, %v in the job", module, scale, n.Scale)
			}
			stream.Upload(n.A.View(part.Lane.Values), kernels.EncodeF32(x.A))
			stream.Upload(n.B.View(part.Lane.Values), kernels.EncodeF32(x.B))
			delete(byModule, module)
		}
		if err := stream.Synchronize(ctx); err != nil {
			return fmt.Errorf("adapter: %w", err)
		}
	}
	for i := range factors {
		if byModule[factors[i].Module] != nil {
			return fmt.Errorf("adapter: the files have factors for %s, which the job does not train", factors[i].Module)
		}
	}
	return nil
}
