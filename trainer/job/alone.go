package job

import (
	"context"
	"fmt"
	"os"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/trainer/adapter"
	"ressa/trainer/data"
	"ressa/trainer/export"
	"ressa/trainer/model"
)

// Machine is what work outside a run computes on.
type Machine struct {
	Device kernels.Device
	Lanes  int // batches at the same time; no bit depends on it
}

// alone is an opened model folder with lanes, for work outside a run.
type alone struct {
	Machine
	subject *Subject
	lanes   []*model.Lane
	dtype   kernels.DType
	scratch string // holds the shipped model; empty without
}

// openAlone opens a model and rounds it to a dtype, "" for the one it is stored
// in. Without conversations a folder needs no tokenizer and no image processor.
// Errors are the user's to mend.
func openAlone(ctx context.Context, m Machine, o SubjectOptions, dtypeName string, conversations bool) (*alone, error) {
	a := &alone{Machine: m}
	if err := a.open(ctx, o, dtypeName, conversations); err != nil {
		a.close()
		return nil, api.Invalid(err)
	}
	return a, nil
}

func (a *alone) open(ctx context.Context, o SubjectOptions, dtypeName string, conversations bool) (err error) {
	if o.Dir == DemoModel {
		if a.scratch, err = os.MkdirTemp("", "ressa-model-"); err != nil {
			return err
		}
		if o.Dir, err = modelDir(DemoModel, a.scratch); err != nil {
			return err
		}
	}
	s := &Subject{Dir: o.Dir}
	a.subject = s
	if err = s.openModel(ctx, a.Device, o); err != nil {
		return err
	}
	if conversations {
		if err = s.openEncoder(o); err != nil {
			return err
		}
	}
	if a.lanes, err = openLanes(a.Device, a.Lanes); err != nil {
		return err
	}
	a.dtype = dtype(dtypeName)
	if dtypeName == "" {
		a.dtype = s.stored()
	}
	for _, t := range s.towers() {
		adapter.Round(t.Tower, a.dtype)
		if err = adapter.RoundFrozen(ctx, a.lanes[0], t.Tower, a.dtype); err != nil {
			return err
		}
	}
	return nil
}

func (a *alone) close() {
	closeLanes(a.lanes)
	if a.subject != nil {
		a.subject.Close()
	}
	if a.scratch != "" {
		_ = os.RemoveAll(a.scratch) // in the system's temporary folder
	}
}

// stored is the dtype that holds every parameter as it was loaded.
func (s *Subject) stored() kernels.DType {
	for _, t := range s.towers() {
		for _, p := range t.Params() {
			if p.Value.DType != kernels.BF16 {
				return kernels.F32
			}
		}
	}
	return kernels.BF16
}

// target is an export of the subject, without towers or masks, in a dtype.
func (s *Subject) target(dir, base string, d kernels.DType) export.Spec {
	return export.Spec{Dir: dir, DType: d, Config: s.Config, Spelling: s.Spelling, SideFrom: s.Dir, Base: base, Unused: s.unused()}
}

// AssessSpec says what [Assess] scores on what.
type AssessSpec struct {
	Model     SubjectOptions
	Data      api.Source
	Seed      uint64 // of generated data
	DType     string // bf16 or fp32; empty for that of the weights
	Batch     int
	MaxNew    int
	Blind     bool // also with the image zeroed
	Progress  func(done, total int)
	DataField string // names the data in errors
}

// Assessment is what [Assess] found out.
type Assessment struct {
	Score api.Score
	Blind *api.Score
	DType kernels.DType
}

// Assess scores a checkpoint. Zeros of a sparse one are in its weights: masks are
// not read.
func Assess(ctx context.Context, m Machine, s AssessSpec) (Assessment, error) {
	a, err := openAlone(ctx, m, s.Model, s.DType, true)
	if err != nil {
		return Assessment{}, err
	}
	defer a.close()
	set, err := OpenData(ctx, s.DataField, s.Data, s.Seed)
	if err != nil {
		return Assessment{}, api.Invalid(err)
	}
	defer closeSet(set)
	if err := encodes(s.DataField, set, a.subject.Encoder); err != nil {
		return Assessment{}, api.Invalid(err)
	}
	out := Assessment{DType: a.dtype}
	for _, blind := range []bool{false, true} {
		if blind && !s.Blind {
			continue
		}
		score, err := Evaluate(ctx, a.subject, set, byStage(a.lanes, a.subject), EvaluateOptions{Batch: s.Batch, MaxNew: s.MaxNew, Blind: blind, Progress: s.Progress})
		if err != nil {
			return Assessment{}, err
		}
		if blind {
			out.Blind = score
		} else {
			out.Score = *score
		}
	}
	return out, nil
}

// encodes encodes one sample of a set, so that a template, a tokenizer or an
// image that does not fit is an input error and not one of the first step.
func encodes(field string, set data.Dataset, encoder *data.Encoder) error {
	ex, err := set.Example(0)
	if err == nil {
		_, err = encoder.Encode(ex)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}
