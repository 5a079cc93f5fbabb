package job

import (
	"ressa/kernels"
	"ressa/trainer/adapter"
	"ressa/trainer/data"
	"ressa/trainer/model/llava"
	"ressa/trainer/prune"
)

// opened is what a generation leaves open for the next one of the same job in the
// same process: what was read and checked once. Only weights that training leaves
// alone can stay.
type opened struct {
	config  string // of the job
	device  kernels.Device
	weights *llava.Kept
	hashed  bool                    // the model has the hash that the job names
	digests map[string]prune.Digest // of the base, by parameter
	sets    datasets
}

// datasets are the data sets of a job; nil without.
type datasets struct {
	train, validation, test data.Dataset
}

// close closes the files of the sets.
func (s *datasets) close() {
	for _, set := range []data.Dataset{s.train, s.validation, s.test} {
		closeSet(set)
	}
	*s = datasets{}
}

func (o *opened) close() {
	if o != nil {
		o.weights.Close()
		o.sets.close()
	}
}

// Close frees what the memory keeps open. It has to come before the end of the
// device that the job ran on; what else is remembered stays.
func (m *Memory) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened.close()
	m.opened = nil
}

// reusable reports whether what is opened can stay: training has to leave the weights
// as they are.
func (r *run) reusable() bool {
	return r.Memory != nil && adapter.Method(r.job.Adapter.Method).LowRank()
}

// reuse takes over what the generation before left open, and begins to collect what
// this one will leave.
func (r *run) reuse() {
	r.kept = &opened{config: r.identity.Config, device: r.Device, weights: llava.NewKept(r.Device), digests: map[string]prune.Digest{}}
	if !r.reusable() {
		return
	}
	m := r.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.opened
	m.opened = nil
	if before == nil {
		return
	}
	if before.config != r.kept.config || before.device != r.Device {
		before.close()
		return
	}
	r.kept, r.datasets, before.sets = before, before.sets, datasets{}
}

// leave leaves open what the next generation can use, and closes what it cannot. The
// model is released.
func (r *run) leave() {
	if r.kept == nil {
		r.datasets.close()
		return
	}
	r.kept.sets, r.datasets = r.datasets, datasets{}
	if !r.reusable() {
		r.kept.close()
		return
	}
	m := r.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opened != nil { // another run of the job has left more: the export's
		r.kept.close()
		return
	}
	m.opened, r.kept = r.kept, nil
}

// keepModel hands the model's parameters to what stays open.
func (r *run) keepModel() {
	if r.kept == nil || !r.reusable() {
		r.subject.Close()
		return
	}
	for _, p := range r.subject.Parts {
		if p.Model != nil {
			r.kept.weights.Take(p.Model)
		}
	}
	r.subject.Parts = nil
}
