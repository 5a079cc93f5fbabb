package job

import (
	"context"
	"errors"
	"fmt"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/export"
	"ressa/trainer/model"
	"ressa/trainer/prune"
	"ressa/trainer/step"
)

// PruneSpec says what [Prune] prunes how. Of api.Prune it reads the method, the
// patterns and the number of calibration samples.
type PruneSpec struct {
	Model     SubjectOptions
	Prune     api.Prune
	Data      api.Source // for Wanda's calibration
	DataField string     // names the data in errors
	Seed      uint64     // of the choice of calibration samples
	DType     string     // bf16 or fp32; empty for that of the weights
	Dir       string     // where the sparse checkpoint appears
}

// Sparse describes a sparse checkpoint that was written.
type Sparse struct {
	Dir      string
	Hash     string // of its weights
	DType    kernels.DType
	Patterns map[string]string // by tower
	Sparsity map[string]float64
	Layers   []api.Layer
	Doubts   []string // zeros that masks do not explain, a line each
}

// Prune writes the pruned checkpoint of a model with its masks. A job with the
// same seed, data and dtype computes the same masks.
func Prune(ctx context.Context, m Machine, s PruneSpec) (Sparse, error) {
	method, err := prune.ParseMethod(s.Prune.Method)
	if err != nil {
		return Sparse{}, api.Invalid(fmt.Errorf("method: %w", err))
	}
	p, err := patterns(s.Prune)
	if err == nil && len(p) == 0 {
		err = errors.New("both towers are to stay dense: there is nothing to prune")
	}
	if err != nil {
		return Sparse{}, api.Invalid(err)
	}
	wanda := method == prune.Wanda
	a, err := openAlone(ctx, m, s.Model, s.DType, wanda)
	if err != nil {
		return Sparse{}, err
	}
	defer a.close()
	if err := a.subject.fitPatterns(s.Prune, p); err != nil {
		return Sparse{}, api.Invalid(err)
	}
	var set data.Dataset
	if wanda {
		if set, err = OpenData(ctx, s.DataField, s.Data, s.Seed); err != nil {
			return Sparse{}, api.Invalid(err)
		}
		defer closeSet(set)
		if err := encodes(s.DataField, set, a.subject.Encoder); err != nil {
			return Sparse{}, api.Invalid(err)
		}
	}
	masks, err := ComputeMasks(ctx, a.subject, byStage(a.lanes, a.subject), s.Prune.Method, p, set, s.Prune.CalibrationSamples, s.Seed)
	if err != nil {
		return Sparse{}, err
	}
	return a.write(ctx, s.Dir, s.Model.Dir, masks, p)
}

// ImportSpec says which checkpoint [Import] takes in.
type ImportSpec struct {
	Model SubjectOptions
	// Prune holds the patterns that are declared; an empty one is inferred.
	Prune api.Prune
	DType string // bf16 or fp32; empty for that of the weights
	Dir   string
}

// Import takes in a checkpoint that arrives pruned: it derives masks from its
// zeros, or verifies those that it brings, and writes it with them.
func Import(ctx context.Context, m Machine, s ImportSpec) (Sparse, error) {
	s.Prune.Method = string(prune.Magnitude) // only patterns are read of it
	declared := map[string]sparse.Pattern{}
	for _, role := range []string{step.Vision, step.Language} {
		text := s.Prune.TowerPattern(role)
		if text == "" || text == api.Dense {
			continue
		}
		p, err := sparse.ParsePattern(text)
		if err != nil {
			return Sparse{}, api.Invalid(fmt.Errorf("%s: %w", s.Prune.TowerKey(role), err))
		}
		declared[role] = p
	}
	a, err := openAlone(ctx, m, s.Model, s.DType, false)
	if err != nil {
		return Sparse{}, err
	}
	defer a.close()
	stored, err := storedMasks(a.subject.Dir)
	if err != nil {
		return Sparse{}, api.Invalid(err)
	}
	var masks prune.Masks
	var doubts []string
	for _, t := range a.subject.towers() {
		if s.Prune.TowerPattern(t.role) == api.Dense {
			continue
		}
		own, pattern, found, err := a.importTower(ctx, t, stored, declared)
		if err != nil {
			return Sparse{}, api.Invalid(fmt.Errorf("%s tower: %w", t.role, err))
		}
		masks = append(masks, own...)
		if len(own) > 0 {
			declared[t.role] = pattern
		}
		for _, d := range found {
			doubts = append(doubts, d.String())
		}
	}
	if len(masks) == 0 {
		return Sparse{}, api.Invalid(fmt.Errorf("%s: %w", s.Model.Dir, prune.ErrNotPruned))
	}
	out, err := a.write(ctx, s.Dir, s.Model.Dir, masks, declared)
	out.Doubts = doubts
	return out, err
}

// storedMasks returns the masks that a folder brings; none where it has no file.
func storedMasks(dir string) (masks prune.Masks, err error) {
	f, err := hf.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return prune.FromFolder(f)
}

// importTower returns the masks of one tower and the pattern that they fulfil; no
// masks for a tower that is not pruned and was not said to be.
func (a *alone) importTower(ctx context.Context, t namedTower, stored prune.Masks, declared map[string]sparse.Pattern) (prune.Masks, sparse.Pattern, []prune.Doubt, error) {
	pattern, said := declared[t.role]
	if len(stored) > 0 {
		own := stored.Only(t.Tower)
		if said {
			if err := own.Check(pattern); err != nil {
				return nil, pattern, nil, err
			}
			if len(own) == 0 {
				return nil, pattern, nil, fmt.Errorf("masks.safetensors has none of its layers, want pattern %s", pattern)
			}
		}
		doubts, err := prune.Verify(ctx, a.lanes[0], t.Tower, own)
		return own, pattern, doubts, err
	}
	o := prune.ImportOptions{Granularity: granularity(t.role)}
	if said {
		o.Pattern = &pattern
	}
	found, err := prune.Import(ctx, a.lanes[0], t.Tower, o)
	if errors.Is(err, prune.ErrNotPruned) && !said {
		return nil, pattern, nil, nil
	}
	return found.Masks, found.Pattern, found.Doubts, err
}

// write exports the model under its masks to dir.
func (a *alone) write(ctx context.Context, dir, base string, masks prune.Masks, p map[string]sparse.Pattern) (Sparse, error) {
	applied, err := masks.Apply(ctx, a.Device, a.subject.held()...)
	if err != nil {
		return Sparse{}, err
	}
	defer applied.Release()
	spec := a.subject.target(dir, base, a.dtype)
	spec.Masks = masks
	out := Sparse{Dir: dir, DType: a.dtype, Patterns: map[string]string{}, Sparsity: sparsity(a.subject.byRole(masks)), Layers: layers(a.subject.byRole(masks))}
	for _, t := range a.subject.towers() {
		spec.Towers = append(spec.Towers, export.Tower{Tower: t.Tower, Lane: a.lanes[0], Pattern: p[t.role]})
		if pattern, ok := p[t.role]; ok && pattern != (sparse.Pattern{}) {
			out.Patterns[t.role] = pattern.String()
		}
	}
	done, err := export.Write(ctx, spec)
	out.Hash = done.Hash
	return out, err
}

// fitPatterns verifies that every layer can be cut into the groups of its tower's
// pattern, before anything is computed or written.
func (s *Subject) fitPatterns(p api.Prune, patterns map[string]sparse.Pattern) error {
	for _, t := range s.towers() {
		pattern, ok := patterns[t.role]
		if !ok {
			continue
		}
		if err := prune.Fits(t.Tower, pattern); err != nil {
			return fmt.Errorf("%s: %w", p.TowerKey(t.role), err)
		}
	}
	return nil
}

// towerMasks are the masks of a stage with its tower's role.
type towerMasks struct {
	Role  string
	Masks prune.Masks
}

// byRole sorts masks by the stages that are held.
func (s *Subject) byRole(masks prune.Masks) []towerMasks {
	var out []towerMasks
	for _, t := range s.towers() {
		out = append(out, towerMasks{t.role, masks.Only(t.Tower)})
	}
	return out
}

// held returns the stages that are held.
func (s *Subject) held() []model.Tower {
	var out []model.Tower
	for _, t := range s.towers() {
		out = append(out, t.Tower)
	}
	return out
}

// layers lists the sparsity of every masked layer in canonical order.
func layers(all []towerMasks) []api.Layer {
	var out []api.Layer
	for _, t := range all {
		for _, e := range t.Masks {
			out = append(out, api.Layer{Name: e.Name, Tower: t.Role, Sparsity: 1 - e.Mask.Density()})
		}
	}
	return out
}

// sparsity is that of each tower over its masked layers.
func sparsity(all []towerMasks) map[string]float64 {
	byTower := map[string]prune.Masks{}
	for _, t := range all {
		byTower[t.Role] = append(byTower[t.Role], t.Masks...)
	}
	out := map[string]float64{}
	for role, m := range byTower {
		if len(m) > 0 {
			out[role] = m.Sparsity()
		}
	}
	return out
}

// granularity is that of the published methods for an unstructured pattern.
func granularity(role string) prune.Granularity {
	if role == step.Vision {
		return prune.PerMatrix
	}
	return prune.PerRow
}
