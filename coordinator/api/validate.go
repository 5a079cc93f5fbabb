package api

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// maxGenerated bounds a limit on generated examples, of which there is no end.
const maxGenerated = 1 << 24

// Validate reports the first field whose value cannot be right, by its name in
// the job file, with what was found and what was expected. Paths are checked by
// those who open them, and what a model allows by those who open it.
func (j Job) Validate() error {
	for _, err := range []error{
		matches("name", j.Name, nameForm, "letters, digits, - and _, at most 63"),
		numbers("", reflect.ValueOf(j)),
		oneOf("model.init", j.Model.Init, "pretrained", "random"),
		given("model.path", j.Model.Path),
		sourceOf("data.train", j.Data.Train, true), sourceOf("data.validation", j.Data.Validation, false), sourceOf("data.test", j.Data.Test, false),
		oneOf("data.template", j.Data.Template, "llava-1.5", "terse"),
		j.Prune.Validate(),
		oneOf("adapter.method", j.Adapter.Method, "full", "lora-remask", "masked", "sparselora"),
		atMost("train.microbatches", j.Train.Microbatches, "train.batch", j.Train.Batch),
		oneOf("train.schedule", j.Train.Schedule, "constant", "cosine", "linear"),
		atMost("train.warmup", j.Train.Warmup, "train.steps", j.Train.Steps),
		oneOf("train.wire", j.Train.Wire, "bf16", "fp32"),
		oneOf("train.compute", j.Train.Compute, ComputeBF16, ComputeFP32),
		oneOf("train.recompute", j.Train.Recompute, RecomputeBlocks, RecomputeMLPs, RecomputeNone),
		oneOf("train.keep_state", j.Train.KeepState, KeepCheckpoints, KeepMemory),
		j.Train.store(),
		oneOf("train.numerics", j.Train.Numerics, "relaxed", "strict"),
		oneOf("distill.kl_reduction", j.Distill.KLReduction, "batchmean", "token"),
		j.Distill.teachers(),
		j.Trace.endpoint(),
		oneOf("export.dtype", j.Export.DType, "bf16", "fp32"),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (t Tracing) endpoint() error {
	if t.Endpoint == "" {
		return nil
	}
	if err := CheckCollector(t.Endpoint); err != nil {
		return fmt.Errorf("trace.endpoint: %w", err)
	}
	return nil
}

func (t Train) store() error {
	if _, err := ParseCheckpointStore(t.Store); err != nil {
		return fmt.Errorf("train.checkpoint_store: %w", err)
	}
	return nil
}

func (d Distill) teachers() error {
	names := sortedKeys(reflect.ValueOf(d.Teachers))
	for _, n := range names {
		if err := oneOf("distill.teachers", n, "dense-dense", "dense-language", "dense-vision"); err != nil {
			return err
		}
	}
	if d.Lambda > 0 && len(names) == 0 {
		return fmt.Errorf("distill.teachers: found none with lambda %v, want at least one", d.Lambda)
	}
	return nil
}

// sortedKeys returns the keys of a map from strings in order.
func sortedKeys(m reflect.Value) []string {
	var keys []string
	for _, k := range m.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}

func sourceOf(field string, s Source, required bool) error {
	if !s.Given() && !required {
		return nil
	}
	if err := oneOf(field+".format", s.Format, "fashiongrid", "llava", "parquet"); err != nil {
		return err
	}
	switch {
	case s.Format == "fashiongrid" && s.Limit > maxGenerated:
		return fmt.Errorf("%s.limit: found %d, want at most %d of fashiongrid", field, s.Limit, maxGenerated)
	case s.Format == "fashiongrid":
		return oneOf(field+".split", s.Split, "test", "train", "validation")
	case s.Path == "":
		return given(field+".path", s.Path)
	case s.Format == "parquet" && s.Images != "":
		return fmt.Errorf("%s.images: found %q, want none: Parquet carries its images", field, shorten(s.Images))
	}
	return nil
}

func given(field, value string) error {
	if value == "" {
		return fmt.Errorf("%s: missing", field)
	}
	return nil
}

func oneOf(field, value string, valid ...string) error {
	if !slices.Contains(valid, value) {
		return fmt.Errorf("%s: found %q, want one of %s", field, shorten(value), strings.Join(valid, ", "))
	}
	return nil
}

// atMost holds a number to another field of the job.
func atMost(field string, value int, bound string, most int) error {
	if value > most {
		return fmt.Errorf("%s: found %d, want at most %s, which is %d", field, value, bound, most)
	}
	return nil
}

func matches(field, value string, form *regexp.Regexp, want string) error {
	if !form.MatchString(value) {
		return fmt.Errorf("%s: found %q, want %s", field, shorten(value), want)
	}
	return nil
}
