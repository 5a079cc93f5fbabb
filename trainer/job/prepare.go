package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/prune"
	"ressa/trainer/step"
)

// prepare opens everything that the job names, before anything is written but
// the job itself.
func (r *run) prepare(ctx context.Context) error {
	if r.Team == nil || r.Team.Chief() {
		if err := r.openFolder(); err != nil {
			return err
		}
	}
	r.enter("prepare", r.On)
	err := r.open(ctx)
	if r.Team == nil {
		return err
	}
	return r.agree(ctx, err)
}

// openFolder begins the run's folder.
func (r *run) openFolder() error {
	if err := r.folder.writeJob(r.job); err != nil {
		return err
	}
	var err error
	if r.events, err = os.OpenFile(r.folder.path(eventsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	// A killed process may have left half a line.
	if info, err := r.events.Stat(); err == nil {
		r.torn = info.Size() > 0
	}
	return nil
}

// open opens what the job names, in this process.
func (r *run) open(ctx context.Context) error {
	var err error
	if r.identity, err = r.identify(); err != nil {
		return err
	}
	if r.resumed && r.state.Config != "" && r.state.Config != r.identity.Config {
		return fmt.Errorf("%s: the job was changed since the run began; a changed job is a new run: %w", r.folder.path(jobFile), checkpoint.ErrOtherJob)
	}
	r.state.Config = r.identity.Config
	if err := r.openModel(ctx); err != nil {
		return err
	}
	if err := r.openData(ctx); err != nil {
		return err
	}
	return r.openStore(ctx)
}

// identify says what the checkpoints of the run belong to, but for the base.
func (r *run) identify() (checkpoint.Identity, error) {
	id := checkpoint.Identity{Job: r.job.Name, NumericKind: r.Device.Kind()}
	if r.job.Train.Numerics == "relaxed" {
		id.NumericKind = ""
	}
	j := r.job
	j.Train.Store = ""     // where its checkpoints are changes no bit
	j.Train.Recompute = "" // nor does what is computed again
	j.Trace = api.Tracing{}
	if j.Train.Compute == api.ComputeFP32 {
		j.Train.Compute = "" // as runs have it that know of nothing else
	}
	raw, err := yaml.Marshal(j)
	if err != nil {
		return id, err
	}
	sum := sha256.Sum256(raw)
	id.Config = hex.EncodeToString(sum[:])
	return id, nil
}

// openModel opens and rounds the job's model, and the masks that it brings.
func (r *run) openModel(ctx context.Context) error {
	dir, err := modelDir(r.job.Model.Path, r.Dir)
	if err != nil {
		return err
	}
	r.reuse()
	hash := r.job.Model.SHA256
	if r.kept.hashed {
		hash = ""
	}
	if r.patterns, err = patterns(r.job.Prune); err != nil {
		return err
	}
	if r.subject, err = OpenSubject(ctx, r.Device, SubjectOptions{Dir: dir, Random: r.job.Model.Init == "random", Seed: r.job.Seed,
		SHA256: hash, Template: r.job.Data.Template, MaxLength: r.job.Data.MaxLength,
		Team: r.Team, Microbatches: r.job.Train.Microbatches, Kept: r.kept.weights}); err != nil {
		return err
	}
	r.kept.hashed = true
	r.team = r.subject.Team
	r.done = make([]int, len(r.subject.Parts))
	if err := r.fits(); err != nil {
		return err
	}
	if r.probes, err = openLanes(r.Device, r.Lanes); err != nil {
		return err
	}
	return r.round(ctx)
}

// fits verifies what the job asks of the model: patterns, masks that it names, and
// ranks.
func (r *run) fits() error {
	if err := r.subject.fitPatterns(r.job.Prune, r.patterns); err != nil {
		return err
	}
	if r.job.Prune.Masks != "" && r.job.Prune.Method != "none" {
		masks, err := prune.Load(filepath.Join(r.job.Prune.Masks, "masks.safetensors"), hf.Canonical)
		if err != nil {
			return fmt.Errorf("prune.masks: %w", err)
		}
		r.masks = masks
		if err := r.checkMasks(); err != nil {
			return fmt.Errorf("prune.masks: %w", err)
		}
	}
	if r.job.Train.Steps == 0 || !adapter.Method(r.job.Adapter.Method).LowRank() {
		return nil
	}
	for _, t := range r.subject.towers() {
		for _, n := range t.Linears() {
			if rank := r.rank(t.role); t.Prunable(n) && rank > min(n.In(), n.Out()) {
				return fmt.Errorf("adapter: rank %d of the %s tower exceeds the smaller side of %s (%d, %d)", rank, t.role, n.Weight.Name, n.Out(), n.In())
			}
		}
	}
	return nil
}

// checkMasks verifies that the masks fulfil the towers' patterns.
func (r *run) checkMasks() error {
	for _, t := range r.subject.towers() {
		if pattern, ok := r.patterns[t.role]; ok {
			if err := r.masks.Only(t.Tower).Check(pattern); err != nil {
				return fmt.Errorf("%s tower: %w", t.role, err)
			}
		}
	}
	return nil
}

// round makes the model compute with what will be exported: effective weights
// rounded in every product, and, where they are not trained, norms, biases and
// embeddings rounded once.
func (r *run) round(ctx context.Context) error {
	for _, t := range r.subject.towers() {
		adapter.Round(t.Tower, exportDType(r.job))
		if r.job.Adapter.Method == string(adapter.Full) {
			continue
		}
		if err := adapter.RoundFrozen(ctx, r.probes[0], t.Tower, exportDType(r.job)); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) openData(ctx context.Context) (err error) {
	if r.train != nil { // still open
		return nil
	}
	defer func() {
		if err != nil {
			r.datasets.close()
		}
	}()
	if r.train, err = OpenData(ctx, "data.train", r.job.Data.Train, r.job.Seed); err != nil {
		return err
	}
	if r.job.Data.Test.Given() {
		if r.test, err = OpenData(ctx, "data.test", r.job.Data.Test, r.job.Seed); err != nil {
			return err
		}
	}
	switch {
	case r.job.Data.Validation.Given():
		if r.validation, err = OpenData(ctx, "data.validation", r.job.Data.Validation, r.job.Seed); err != nil {
			return err
		}
	case r.job.Train.ValidateEvery > 0:
		// The last twentieth of the training data, and no less than one example.
		n := max(1, r.train.Len()/20)
		if n == r.train.Len() {
			return fmt.Errorf("data.validation: missing, and data.train has too few examples (%d) to share", n)
		}
		r.validation = excerpt{r.train, r.train.Len() - n, n}
		r.train = excerpt{r.train, 0, r.train.Len() - n}
	}
	for _, s := range []struct {
		field string
		set   data.Dataset
	}{{"data.train", r.train}, {"data.validation", r.validation}, {"data.test", r.test}} {
		if s.set == nil {
			continue
		}
		if err := encodes(s.field, s.set, r.subject.Encoder); err != nil {
			return err
		}
	}
	return nil
}

// patterns parses the pattern of each tower that is pruned.
func patterns(p api.Prune) (map[string]sparse.Pattern, error) {
	out := map[string]sparse.Pattern{}
	for _, role := range []string{step.Vision, step.Language} {
		text := p.TowerPattern(role)
		if text == api.Dense {
			continue
		}
		pattern, err := sparse.ParsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.TowerKey(role), err)
		}
		out[role] = pattern
	}
	return out, nil
}

func exportDType(j api.Job) kernels.DType { return dtype(j.Export.DType) }

func dtype(name string) kernels.DType {
	if name == "bf16" {
		return kernels.BF16
	}
	return kernels.F32
}
