package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/model"
	"ressa/trainer/prune"
)

// AdapterFolder is the sub-folder with the factors in PEFT's layout.
const AdapterFolder = "adapter"

// Tower is one tower of the model, as it was trained.
type Tower struct {
	Tower model.Tower
	// Lane is a lane of the tower, with its trained values where there are any.
	Lane *model.Lane
	// Attachment is what was trained; nil exports the pruned or dense tower as it is.
	Attachment *adapter.Attachment
	// Pattern is what the masks of the tower must fulfil; the zero Pattern asks for
	// nothing.
	Pattern sparse.Pattern
}

// Spec says what to write where.
type Spec struct {
	Dir       string // appears, or is replaced with Overwrite (see [hf.Write])
	Overwrite bool
	// DType of all weights: F32 or BF16. It must be what the towers round to.
	DType kernels.DType
	// Config is config.json of the source; its dtype is adapted.
	Config   []byte
	Spelling hf.Spelling // of the source
	SideFrom string      // folder whose tokenizer and processor files are copied; may be empty
	Base     string      // what PEFT's configuration names as the base model
	Towers   []Tower     // vision before language
	// Unused are parameters outside the towers that belong to the checkpoint.
	Unused []*model.Param
	Masks  prune.Masks // of all towers; empty for a dense model
}

// Result tells what was written.
type Result struct {
	Hash string // of the weights (see [hf.Folder.Hash])
	// AdapterSHA256 is the hash of adapter_model.safetensors, empty where nothing
	// of low rank was trained.
	AdapterSHA256 string
	Merge         adapter.MergeReport
}

// Write merges, writes and verifies. On any error nothing is left at Dir but what
// was there before.
func Write(ctx context.Context, s Spec) (Result, error) {
	if len(s.Towers) == 0 {
		return Result{}, errors.New("export: no towers")
	}
	config, err := withDType(s.Config, s.DType)
	if err != nil {
		return Result{}, fmt.Errorf("export: config.json: %w", err)
	}
	e := &exporter{spec: s, sums: map[string][sha256.Size]byte{}}
	weights, err := e.weights(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("export: %w", err)
	}
	err = hf.Write(ctx, s.Dir, hf.Spec{
		Config: config, Weights: weights, Masks: s.Masks.Entries(), Spelling: s.Spelling,
		SideFrom: s.SideFrom, Overwrite: s.Overwrite, Fill: e.fill,
	})
	if err != nil {
		return Result{}, fmt.Errorf("export: %w", err)
	}
	for _, m := range e.mergers {
		e.result.Merge.Add(m.Report())
	}
	return e.result, nil
}

// exporter is one export on its way.
type exporter struct {
	spec    Spec
	mergers []*adapter.Merger
	sums    map[string][sha256.Size]byte // of the bytes that were merged, by canonical name
	result  Result
}

// weights returns the entries of all parameters; they merge when they are written.
func (e *exporter) weights(ctx context.Context) ([]safetensors.Entry, error) {
	dtype := safetensors.F32
	switch e.spec.DType {
	case kernels.F32:
	case kernels.BF16:
		dtype = safetensors.BF16
	default:
		return nil, fmt.Errorf("dtype %v, want fp32 or bf16", e.spec.DType)
	}
	var entries []safetensors.Entry
	add := func(m *adapter.Merger, p *model.Param) {
		entries = append(entries, safetensors.Entry{Name: p.Name, DType: dtype, Shape: p.Shape, Write: func(w io.Writer) error {
			data, err := m.Param(ctx, p)
			if err != nil {
				return err
			}
			e.sums[p.Name] = sha256.Sum256(data)
			_, err = w.Write(data)
			return err
		}})
	}
	for _, t := range e.spec.Towers {
		m := adapter.NewMerger(t.Lane, t.Tower, e.spec.DType)
		if t.Attachment != nil {
			if m = t.Attachment.Merger(t.Lane); m.DType() != e.spec.DType {
				return nil, fmt.Errorf("dtype %v, but what was trained rounds to %v", e.spec.DType, m.DType())
			}
		}
		e.mergers = append(e.mergers, m)
		for _, p := range t.Tower.Params() {
			add(m, p)
		}
	}
	// What no computation reads is rounded as well, but not reported.
	unused := adapter.NewMerger(e.spec.Towers[0].Lane, e.spec.Towers[0].Tower, e.spec.DType)
	for _, p := range e.spec.Unused {
		add(unused, p)
	}
	return entries, nil
}

// fill adds the adapter to the folder before it takes its place, and verifies
// all of it there.
func (e *exporter) fill(ctx context.Context, dir string) error {
	var parts []adapter.Part
	for _, t := range e.spec.Towers {
		if t.Attachment != nil && t.Attachment.Options.Method.LowRank() {
			parts = append(parts, adapter.Part{Attachment: t.Attachment, Lane: t.Lane})
		}
	}
	if len(parts) > 0 {
		folder := filepath.Join(dir, AdapterFolder)
		if err := os.Mkdir(folder, 0o777); err != nil {
			return err
		}
		written, err := adapter.WritePEFT(ctx, folder, e.spec.Base, parts)
		if err != nil {
			return err
		}
		e.result.AdapterSHA256 = written.SHA256
		if _, err := adapter.ReadPEFT(folder); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
	}
	if err := e.verify(ctx, dir); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	return nil
}
