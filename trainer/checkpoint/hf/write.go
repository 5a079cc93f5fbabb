package hf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/checkpoint/safetensors"
)

// DefaultShardBytes is the size above which weights are split into shards, that
// of transformers' published checkpoints.
const DefaultShardBytes = 5_000_000_000

// Spec is what [Write] writes.
type Spec struct {
	// Config is config.json as it is written; its model_type decides whether
	// Spelling applies.
	Config []byte
	// Weights are all tensors under canonical names.
	Weights []safetensors.Entry
	// Masks are BOOL tensors under the names of the weights that they mask, as
	// [MaskEntry] makes them. Without any, no masks.safetensors is written.
	Masks []safetensors.Entry
	// Spelling is how the keys of a LLaVA model are written.
	Spelling Spelling
	// SideFrom is a folder whose tokenizer and processor files are copied; "" for none.
	SideFrom string
	// ShardBytes is the most tensor bytes of one weights file, unless a single
	// tensor is larger; 0 means DefaultShardBytes.
	ShardBytes int64
	// Overwrite lets a checkpoint folder that is there be replaced as a whole.
	Overwrite bool
	// Fill, where it is set, adds further files, as an adapter's, to the folder at
	// dir before it takes its place.
	Fill func(ctx context.Context, dir string) error
}

// Write writes a complete checkpoint folder at dir: it appears with everything
// in it and durable, or the error says why not and nothing is left. A folder that
// is there and not empty is refused, unless Overwrite is set and it holds a
// config.json: so a mistyped path does not cost somebody a home directory.
func Write(ctx context.Context, dir string, spec Spec) error {
	if err := writeFolder(ctx, dir, spec); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", dir, err)
	}
	return nil
}

func writeFolder(ctx context.Context, dir string, spec Spec) error {
	config, err := ParseConfig(spec.Config)
	if err != nil {
		return fmt.Errorf("%s: %w", configFile, err)
	}
	if config.ModelType != llavaType {
		spec.Spelling = Spelling{}
	}
	if err := checkMasks(spec.Weights, spec.Masks); err != nil {
		return err
	}
	if err := checkTarget(dir, spec.Overwrite); err != nil {
		return err
	}
	d, err := durable.CreateDir(dir)
	if err != nil {
		return err
	}
	defer d.Discard()
	// config.json, by which a folder is recognised, is no different from the rest:
	// the folder itself appears last.
	if err := os.WriteFile(filepath.Join(d.Path, configFile), spec.Config, 0o666); err != nil {
		return err
	}
	if spec.SideFrom != "" {
		if err := copySideFiles(spec.SideFrom, d.Path); err != nil {
			return err
		}
	}
	if err := writeWeights(ctx, d.Path, spec); err != nil {
		return err
	}
	if len(spec.Masks) > 0 {
		if err := encodeFile(ctx, filepath.Join(d.Path, masksFile), respell(spec.Masks, spec.Spelling)); err != nil {
			return err
		}
	}
	if spec.Fill != nil {
		if err := spec.Fill(ctx, d.Path); err != nil {
			return err
		}
	}
	return d.Commit(spec.Overwrite)
}

// checkTarget refuses early what must not be replaced.
func checkTarget(dir string, overwrite bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if !overwrite {
		return errors.New("the folder is there and not empty; choose another, or ask for overwriting")
	}
	if _, err := os.Stat(filepath.Join(dir, configFile)); err != nil {
		return fmt.Errorf("found a folder without %s, expected a checkpoint to overwrite: remove it yourself if it is to go", configFile)
	}
	return nil
}

// checkMasks holds every mask against its weight.
func checkMasks(weights, masks []safetensors.Entry) error {
	shapes := make(map[string][]int, len(weights))
	for _, w := range weights {
		shapes[w.Name] = w.Shape
	}
	for _, m := range masks {
		shape, ok := shapes[m.Name]
		if !ok {
			return fmt.Errorf("mask of %q: %w", m.Name, safetensors.ErrNoTensor)
		}
		if m.DType != safetensors.Bool || !slices.Equal(m.Shape, shape) {
			return fmt.Errorf("mask of %q: found %v %v, expected BOOL %v, the weight's shape", m.Name, m.DType, m.Shape, shape)
		}
	}
	return nil
}

// respell returns the entries under the keys that the files will have.
func respell(entries []safetensors.Entry, s Spelling) []safetensors.Entry {
	out := slices.Clone(entries)
	for i := range out {
		out[i].Name = s.Spell(out[i].Name)
	}
	return out
}

// writeWeights writes one file, or shards and their index.
func writeWeights(ctx context.Context, dir string, spec Spec) error {
	if len(spec.Weights) == 0 {
		return fmt.Errorf("%w: expected at least one tensor", ErrNoWeights)
	}
	limit := spec.ShardBytes
	if limit <= 0 {
		limit = DefaultShardBytes
	}
	shards, total, err := split(respell(spec.Weights, spec.Spelling), limit)
	if err != nil {
		return err
	}
	if len(shards) == 1 {
		return encodeFile(ctx, filepath.Join(dir, weightsFile), shards[0])
	}
	shardOf := map[string]string{}
	for i, shard := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		for _, e := range shard {
			if _, twice := shardOf[e.Name]; twice {
				return fmt.Errorf("tensor %q: given twice", e.Name)
			}
			shardOf[e.Name] = name
		}
		if err := encodeFile(ctx, filepath.Join(dir, name), shard); err != nil {
			return err
		}
	}
	index, err := json.MarshalIndent(map[string]any{
		"metadata": map[string]int64{"total_size": total}, "weight_map": shardOf,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, indexFile), append(index, '\n'), 0o666)
}

// split divides the entries, in the order of their names, into runs of at most
// limit bytes, and returns the bytes of all.
func split(entries []safetensors.Entry, limit int64) (shards [][]safetensors.Entry, total int64, err error) {
	slices.SortStableFunc(entries, func(a, b safetensors.Entry) int { return strings.Compare(a.Name, b.Name) })
	held := int64(0)
	for i, e := range entries {
		n, err := safetensors.ByteSize(e.DType, e.Shape)
		if err != nil {
			return nil, 0, fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if i == 0 || held > 0 && held+int64(n) > limit {
			shards, held = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], e)
		held += int64(n)
		total += int64(n)
	}
	return shards, total, nil
}

// encodeFile writes a file of the temporary folder, which is made durable as a
// whole.
func encodeFile(ctx context.Context, path string, entries []safetensors.Entry) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := safetensors.Encode(ctx, f, entries, map[string]string{"format": "pt"}); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

func copySideFiles(from, to string) error {
	if info, err := os.Stat(from); err != nil {
		return fmt.Errorf("copy side files: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("copy side files: %s: expected a folder", from)
	}
	names, err := sideFiles(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return fmt.Errorf("copy %s from %s: %w", name, from, err)
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
