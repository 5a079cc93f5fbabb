package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ressa/coordinator/api"
	"ressa/kernels/sparse"
	"ressa/shard"
	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/prune"
	"ressa/trainer/team"
)

// calibrationBatch is the number of samples that calibration runs at once: part
// of the order in which its sums are formed.
const calibrationBatch = 16

// calibrationSeed separates the choice of calibration samples from the order of
// training.
const calibrationSeed = 0x63616c6962

func (r *run) masksPath() string { return filepath.Join(r.Dir, "base", "masks.safetensors") }

// masksSumPath is of the SHA-256 of the masks' file: a bit that flips makes other
// masks of it, and nothing else would tell.
func (r *run) masksSumPath() string { return filepath.Join(r.Dir, "base", "masks.sha256") }

// ownMasks reads the masks that this folder keeps. Ones that are damaged are as good as
// missing: they can be computed again.
func (r *run) ownMasks() prune.Masks {
	want, err := os.ReadFile(r.masksSumPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(r.masksPath())
	}
	if err == nil {
		if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != strings.TrimSpace(string(want)) {
			err = fmt.Errorf("%s: does not have the SHA-256 that is in %s", r.masksPath(), r.masksSumPath())
		}
	}
	var masks prune.Masks
	if err == nil {
		masks, err = prune.Load(r.masksPath(), hf.Canonical)
	}
	if err != nil {
		r.Log.Warn("masks on this disk not used", "error", err)
		return nil
	}
	r.masksKept = true
	return masks
}

// prune computes the masks, or takes those of an earlier process, and puts them on
// the model.
func (r *run) prune(ctx context.Context) error {
	if r.masks == nil {
		stored, err := r.storedMasks(ctx)
		if err == nil && !stored {
			err = r.computeMasks(ctx)
		}
		if err != nil {
			return fmt.Errorf("masks: %w", err)
		}
	}
	r.masks = r.masks.Only(r.subject.held()...)
	if err := r.checkMasks(); err != nil {
		return fmt.Errorf("masks: %w", err)
	}
	if err := r.collectMasks(ctx); err != nil {
		return fmt.Errorf("masks: %w", err)
	}
	var err error
	if r.applied, err = r.masks.Apply(ctx, r.Device, r.subject.held()...); err != nil {
		return err
	}
	r.emit(api.Event{Event: "note", Layers: r.layers()})
	return nil
}

// storedMasks takes the masks of an earlier process or generation from whoever has
// them, the chief's folder first, and reports whether all of them were found.
func (r *run) storedMasks(ctx context.Context) (bool, error) {
	known := r.Memory.maskEntries()
	if r.team.Chief() {
		if masks := r.ownMasks(); masks != nil {
			known = masks
		}
	}
	have := team.Bytes{}
	for _, e := range known {
		have[e.Name] = encoded(e)
	}
	var need []string
	for _, t := range r.subject.towers() {
		if _, pruned := r.patterns[t.role]; !pruned {
			continue
		}
		for _, n := range t.Linears() {
			if t.Prunable(n) {
				need = append(need, n.Weight.Name)
			}
		}
	}
	got, missing, err := r.team.Trade(ctx, "masks", have, need)
	if err != nil || len(missing) > 0 {
		return false, err
	}
	r.masks = prune.Masks{}
	for _, name := range need {
		var e prune.Entry
		if err := decoded(got[name], &e); err != nil {
			return false, err
		}
		r.masks = append(r.masks, e)
	}
	return true, nil
}

// collectMasks brings the masks of all stages to the chief, which stores those
// that were computed.
func (r *run) collectMasks(ctx context.Context) error {
	r.allMasks = nil
	err := r.team.Collect(ctx, "masks", func(stage int) ([]byte, error) {
		return encoded(r.masks.Only(r.subject.Parts[stage].Tower)), nil
	}, func(stage int, said []byte) error {
		t := towerMasks{Role: r.subject.Parts[stage].Role}
		if err := decoded(said, &t.Masks); err != nil {
			return fmt.Errorf("of stage %d: %w", stage, err)
		}
		r.allMasks = append(r.allMasks, t)
		return nil
	})
	if err != nil || !r.team.Chief() || r.job.Prune.Masks != "" {
		return err
	}
	if r.masksKept {
		return nil
	}
	var all prune.Masks
	for _, t := range r.allMasks {
		all = append(all, t.Masks...)
	}
	if err := os.MkdirAll(filepath.Dir(r.masksPath()), 0o755); err != nil {
		return err
	}
	written, err := all.Save(ctx, r.masksPath(), r.subject.Spelling.Spell, nil)
	if err == nil {
		err = durable.WriteFile(r.masksSumPath(), []byte(written.SHA256+"\n"))
	}
	return err
}

func (r *run) computeMasks(ctx context.Context) error {
	r.enter("calibrate", fmt.Sprintf("%d samples through both towers", r.job.Prune.CalibrationSamples))
	masks, err := ComputeMasks(ctx, r.subject, r.untrained(), r.job.Prune.Method, r.patterns, r.train, r.job.Prune.CalibrationSamples, r.job.Seed)
	if err != nil {
		return err
	}
	r.enter("prune", fmt.Sprintf("%s %s", r.job.Prune.Method, r.job.Prune.Pattern))
	r.masks = masks
	return nil
}

// ComputeMasks prunes the stages that are held of the towers that patterns names.
// Wanda's statistics come from the first samples of the order of seed. lanes are
// by lane and stage.
func ComputeMasks(ctx context.Context, s *Subject, lanes [][]*model.Lane, method string, patterns map[string]sparse.Pattern, set data.Dataset, samples int, seed uint64) (prune.Masks, error) {
	m, err := prune.ParseMethod(method)
	if err != nil {
		return nil, err
	}
	var statistics *prune.Calibration
	if m == prune.Wanda {
		if statistics, err = s.calibrate(ctx, lanes, set, min(samples, set.Len()), seed); err != nil {
			return nil, err
		}
	}
	masks := prune.Masks{}
	for _, t := range s.towers() {
		pattern, ok := patterns[t.role]
		if !ok {
			continue
		}
		part, err := prune.Compute(ctx, lanes[0][t.stage], t.Tower, prune.Options{Method: m, Pattern: pattern, Granularity: granularity(t.role), Calibration: statistics})
		if err != nil {
			return nil, fmt.Errorf("prune the %s tower: %w", t.role, err)
		}
		masks = append(masks, part...)
	}
	return masks, nil
}

// calibrate runs n samples through the model.
func (s *Subject) calibrate(ctx context.Context, lanes [][]*model.Lane, set data.Dataset, n int, seed uint64) (*prune.Calibration, error) {
	order := data.Order(seed^calibrationSeed, 0, n, set.Len())
	count := (n + calibrationBatch - 1) / calibrationBatch
	blank := s.Encoder.WithoutPixels()
	return prune.Calibrate(ctx, prune.Model{Team: s.Team, Stages: s.stages()}, lanes, prune.Batches{Count: count,
		Batch: func(i int) (*data.Batch, error) {
			encoder := blank
			if s.Team.Owns(0, i) {
				encoder = s.Encoder
			}
			lo, hi := shard.Share(n, count, i)
			return collate(set, encoder, s.Pad, order[lo:hi])
		}})
}

// base hashes what training does not change, on all stages.
func (r *run) base(ctx context.Context) error {
	mine := make([][]prune.Digest, len(r.subject.Parts))
	for _, t := range r.subject.towers() {
		if !r.team.First(t.stage) {
			continue
		}
		var err error
		if mine[t.stage], err = prune.Digests(ctx, r.probes[0], r.masks, t.Tower, r.kept.digests); err != nil {
			return err
		}
		for _, d := range mine[t.stage] {
			r.kept.digests[d.Name] = d
		}
	}
	all, err := r.team.Gather(ctx, "digests of the base", encoded(mine))
	if err != nil {
		return err
	}
	var digests []prune.Digest
	said := make([][][]prune.Digest, len(all))
	for w, raw := range all {
		if err := decoded(raw, &said[w]); err != nil {
			return fmt.Errorf("digests of the base: worker %d: %w", w, err)
		}
		if len(said[w]) != len(mine) {
			return fmt.Errorf("digests of the base: worker %d tells of %d stages, want %d", w, len(said[w]), len(mine))
		}
	}
	for stage := range mine {
		for w := range said {
			digests = append(digests, said[w][stage]...)
		}
	}
	r.identity.Base = prune.BaseHash(digests)
	r.result.BaseSHA256 = r.identity.Base
	return nil
}

// layers lists the sparsity of every masked layer in canonical order; the chief
// alone knows all of them.
func (r *run) layers() []api.Layer { return layers(r.allMasks) }
