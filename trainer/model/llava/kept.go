package llava

import (
	"fmt"
	"slices"

	"ressa/kernels"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
)

// Kept are parameters that stay on a device when the models that held them are
// closed, for models of the same checkpoint that are opened later: what is kept
// is not loaded again. It belongs to one goroutine.
type Kept struct {
	device kernels.Device
	params map[string]*model.Param // by canonical name; nobody else uses them
}

// NewKept returns parameters on a device, none yet.
func NewKept(d kernels.Device) *Kept { return &Kept{device: d, params: map[string]*model.Param{}} }

// Take closes a model and keeps its parameters. All streams that use them must be
// synchronised, and their values be those of the checkpoint, or made from them in a
// way that comes to the same when it is done again.
func (k *Kept) Take(m *Model) {
	keep := map[kernels.Buffer]bool{}
	for _, p := range m.Params() {
		if k.params[p.Name] == nil && !p.Value.IsZero() { // what was packed is read again
			k.params[p.Name], keep[p.Value.Buffer] = &model.Param{Name: p.Name, Shape: p.Shape, Value: p.Value}, true
		}
	}
	m.owned = slices.DeleteFunc(m.owned, func(b kernels.Buffer) bool { return keep[b] })
	m.Close()
}

// Only frees what a model with one of these options would not take.
func (k *Kept) Only(c Config, options ...Options) error {
	want := map[string]bool{}
	for _, o := range options {
		names, err := names(c, o)
		if err != nil {
			return err
		}
		for _, n := range names {
			want[n] = true
		}
	}
	for name, p := range k.params {
		if !want[name] {
			k.device.Free(p.Value.Buffer)
			delete(k.params, name)
		}
	}
	return nil
}

// Len returns how many parameters are kept.
func (k *Kept) Len() int { return len(k.params) }

// Close frees what is kept.
func (k *Kept) Close() {
	for _, p := range k.params {
		k.device.Free(p.Value.Buffer)
	}
	k.params = map[string]*model.Param{}
}

// keeping is a source that has some parameters already.
type keeping struct {
	source
	store *store
	kept  *Kept
}

func (s *keeping) load(name string, shape []int, kind initial) (kernels.Tensor, error) {
	p := s.kept.params[name]
	if p == nil {
		return s.source.load(name, shape, kind)
	}
	if !slices.Equal(p.Shape, shape) {
		return kernels.Tensor{}, fmt.Errorf("tensor %q was kept with shape %v, config.json makes it %v: %w", name, p.Shape, shape, ErrTensor)
	}
	delete(s.kept.params, name)
	s.store.owned = append(s.store.owned, p.Value.Buffer)
	return p.Value, nil
}

// nothing is a source for a model that only tells what it consists of.
type nothing struct{}

func (nothing) load(string, []int, initial) (kernels.Tensor, error) { return kernels.Tensor{}, nil }

// names returns the parameters that a model with these options holds.
func names(c Config, o Options) ([]string, error) {
	m := &Model{Config: c}
	none := func(int, int, float64) (*layer.Rotary, error) { return &layer.Rotary{}, nil }
	if err := m.assemble(&builder{source: nothing{}}, none, o); err != nil {
		return nil, err
	}
	var out []string
	for _, p := range m.Params() {
		out = append(out, p.Name)
	}
	return out, nil
}
