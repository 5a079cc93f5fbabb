package llava

import (
	"fmt"

	"ressa/kernels"
	"ressa/trainer/model"
)

// Range is the blocks Lo to Hi-1 of a tower. The zero Range is the whole tower.
// The stage with Lo = 0 also embeds; the one that ends at the last block also
// finishes (features, or norm and head).
type Range struct {
	Lo, Hi int
}

// Options say which parts of a model to hold. The zero Options hold all of it.
type Options struct {
	Vision, Language               Range
	WithoutVision, WithoutLanguage bool
	// MaxPositions, where it is positive, covers fewer positions than the
	// configuration allows and saves the memory of their rotary tables.
	MaxPositions int
	// Kept, where it is set, is where parameters are taken from before the checkpoint
	// is asked.
	Kept *Kept
}

// Model is a model, or the stages of one that a rank holds, on a device.
type Model struct {
	Config   Config
	Vision   *Vision   // nil without
	Language *Language // nil without
	// Unused are the parameters of the checkpoint that no computation reads: the
	// vision blocks above the feature layer and the last norm. They are held to be
	// written out again, by the rank that holds the vision tower's last stage.
	Unused []*model.Param

	device kernels.Device
	owned  []kernels.Buffer
}

// Params returns every parameter that is held, used or not, in canonical order:
// that of the towers, the unused ones after the vision tower.
func (m *Model) Params() []*model.Param {
	var ps []*model.Param
	if m.Vision != nil {
		ps = append(ps, m.Vision.Params()...)
	}
	ps = append(ps, m.Unused...)
	if m.Language != nil {
		ps = append(ps, m.Language.Params()...)
	}
	return ps
}

// Close frees the parameters. All streams that use them must be synchronised.
func (m *Model) Close() {
	for _, b := range m.owned {
		m.device.Free(b)
	}
	m.owned = nil
}

// resolve returns the blocks a range stands for.
func (r Range) resolve(tower string, blocks int) (Range, error) {
	if r == (Range{}) {
		return Range{0, blocks}, nil
	}
	if r.Lo < 0 || r.Hi <= r.Lo || r.Hi > blocks {
		return Range{}, fmt.Errorf("llava: stage [%d, %d) of a %s tower of %d blocks", r.Lo, r.Hi, tower, blocks)
	}
	return r, nil
}
