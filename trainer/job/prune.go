package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ressa/coordinator/api"
	"ressa/kernels/sparse"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/prune"
	"ressa/trainer/step"
)

// calibrationBatch is the number of samples that calibration runs at once: part
// of the order in which its sums are formed.
const calibrationBatch = 16

// calibrationSeed separates the choice of calibration samples from the order of
// training.
const calibrationSeed = 0x63616c6962

// towers returns the towers of a subject with their roles, vision first.
func (s *Subject) towers() []namedTower {
	return []namedTower{{step.Vision, s.Model.Vision}, {step.Language, s.Model.Language}}
}

type namedTower struct {
	role string
	model.Tower
}

func (r *run) masksPath() string { return filepath.Join(r.Dir, "base", "masks.safetensors") }

// prune computes the masks, or reads those of an earlier process, and puts them
// on the model.
func (r *run) prune(ctx context.Context) error {
	if r.masks == nil {
		masks, err := prune.Load(r.masksPath(), hf.Canonical)
		if errors.Is(err, os.ErrNotExist) {
			masks, err = r.computeMasks(ctx)
		}
		if err != nil {
			return fmt.Errorf("masks: %w", err)
		}
		r.masks = masks
	}
	if err := r.checkMasks(); err != nil {
		return fmt.Errorf("masks: %w", err)
	}
	var err error
	if r.applied, err = r.masks.Apply(ctx, r.Device, r.subject.Model.Vision, r.subject.Model.Language); err != nil {
		return err
	}
	r.emit(api.Event{Event: "note", Layers: r.layers()})
	return nil
}

func (r *run) computeMasks(ctx context.Context) (prune.Masks, error) {
	r.enter("calibrate", fmt.Sprintf("%d samples through both towers", r.job.Prune.CalibrationSamples))
	masks, err := ComputeMasks(ctx, r.subject, r.probes, r.job.Prune.Method, r.patterns, r.train, r.job.Prune.CalibrationSamples, r.job.Seed)
	if err != nil {
		return nil, err
	}
	r.enter("prune", fmt.Sprintf("%s %s", r.job.Prune.Method, r.job.Prune.Pattern))
	if err := os.MkdirAll(filepath.Dir(r.masksPath()), 0o755); err != nil {
		return nil, fmt.Errorf("masks: %w", err)
	}
	_, err = masks.Save(ctx, r.masksPath(), r.subject.Spelling.Spell, nil)
	return masks, err
}

// ComputeMasks prunes the towers that patterns names. Wanda's statistics come
// from the first samples of the order of seed.
func ComputeMasks(ctx context.Context, s *Subject, lanes []*model.Lane, method string, patterns map[string]sparse.Pattern, set data.Dataset, samples int, seed uint64) (prune.Masks, error) {
	m, err := prune.ParseMethod(method)
	if err != nil {
		return nil, err
	}
	var statistics *prune.Calibration
	if m == prune.Wanda {
		n := min(samples, set.Len())
		order := data.Order(seed^calibrationSeed, 0, n, set.Len())
		count := (n + calibrationBatch - 1) / calibrationBatch
		statistics, err = prune.Calibrate(ctx, lanes, s.Model.Vision, s.Model.Language, prune.Batches{Count: count,
			Batch: func(i int) (*data.Batch, error) {
				lo, hi := share(n, count, i)
				return collate(set, s.Encoder, s.Pad, order[lo:hi])
			}})
		if err != nil {
			return nil, err
		}
	}
	var masks prune.Masks
	for _, t := range s.towers() {
		pattern, ok := patterns[t.role]
		if !ok {
			continue
		}
		part, err := prune.Compute(ctx, lanes[0], t.Tower, prune.Options{Method: m, Pattern: pattern, Granularity: granularity(t.role), Calibration: statistics})
		if err != nil {
			return nil, fmt.Errorf("prune the %s tower: %w", t.role, err)
		}
		masks = append(masks, part...)
	}
	return masks, nil
}

// base hashes what training does not change.
func (r *run) base(ctx context.Context) error {
	hash, err := prune.BaseHash(ctx, r.probes[0], r.masks, r.subject.Model.Vision, r.subject.Model.Language)
	if err != nil {
		return err
	}
	r.identity.Base, r.result.BaseSHA256 = hash, hash
	return nil
}

// layers lists the sparsity of every masked layer in canonical order.
func (r *run) layers() []api.Layer { return r.subject.layers(r.masks) }

// sparsity is that of each tower over its masked layers.
func (r *run) sparsity() map[string]float64 {
	if r.subject == nil {
		return map[string]float64{}
	}
	return r.subject.sparsity(r.masks)
}
