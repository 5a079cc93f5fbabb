package api

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// Validate reports the first field whose value cannot be right, by its name in
// the job file, with what was found and what was expected. Patterns and paths
// are checked by those who use them.
func (j Job) Validate() error {
	checks := []error{
		matches("name", j.Name, nameForm, "letters, digits, - and _, at most 63"),
		oneOf("model.init", j.Model.Init, "pretrained", "random"),
		given("model.path", j.Model.Path),
		sourceOf("data.train", j.Data.Train, true), sourceOf("data.validation", j.Data.Validation, false), sourceOf("data.test", j.Data.Test, false),
		oneOf("data.template", j.Data.Template, "llava-1.5", "terse"),
		within("data.max_length", float64(j.Data.MaxLength), 2, 1<<20),
		oneOf("prune.method", j.Prune.Method, "magnitude", "none", "wanda"),
		pattern("prune.pattern", j.Prune.Pattern, true), pattern("prune.vision", j.Prune.Vision, false), pattern("prune.language", j.Prune.Language, false),
		within("prune.calibration_samples", float64(j.Prune.CalibrationSamples), 1, 1<<20),
		oneOf("adapter.method", j.Adapter.Method, "full", "lora-remask", "masked", "sparselora"),
		within("adapter.rank", float64(j.Adapter.Rank), 1, 1<<16),
		within("adapter.vision_rank", float64(j.Adapter.VisionRank), 0, 1<<16),
		positive("adapter.alpha", j.Adapter.Alpha),
		j.Train.validate(),
		within("distill.lambda", j.Distill.Lambda, 0, 1),
		positive("distill.temperature", j.Distill.Temperature),
		oneOf("distill.kl_reduction", j.Distill.KLReduction, "batchmean", "token"),
		j.Distill.teachers(),
		within("evaluate.questions", float64(j.Evaluate.Questions), 0, 1<<31),
		within("evaluate.batch", float64(j.Evaluate.Batch), 1, 1<<16),
		within("evaluate.max_new_tokens", float64(j.Evaluate.MaxNewTokens), 1, 1<<16),
		within("evaluate.validation_questions", float64(j.Evaluate.ValidationLimit), 0, 1<<31),
		oneOf("export.dtype", j.Export.DType, "bf16", "fp32"),
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

func (t Train) validate() error {
	for _, err := range []error{
		within("train.steps", float64(t.Steps), 0, 1<<31),
		within("train.batch", float64(t.Batch), 1, 1<<20),
		within("train.microbatches", float64(t.Microbatches), 1, float64(t.Batch)),
		positive("train.learning_rate", t.LR),
		oneOf("train.schedule", t.Schedule, "constant", "cosine", "linear"),
		within("train.warmup", float64(t.Warmup), 0, float64(max(t.Steps, 0))),
		within("train.floor", t.Floor, 0, 1),
		within("train.beta1", t.Beta1, 0, 0.99999), within("train.beta2", t.Beta2, 0, 0.9999999),
		positive("train.eps", t.Eps),
		within("train.weight_decay", t.WeightDecay, 0, 100),
		within("train.clip_norm", t.ClipNorm, 0, 1e9),
		oneOf("train.wire", t.Wire, "bf16", "fp32"),
		within("train.checkpoint_every", float64(t.CheckpointEvery), 0, 1<<31),
		within("train.keep_checkpoints", float64(t.Keep), 1, 1<<20),
		within("train.validate_every", float64(t.ValidateEvery), 0, 1<<31),
		within("train.patience", float64(t.Patience), 0, 1<<31),
		oneOf("train.numerics", t.Numerics, "relaxed", "strict"),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (d Distill) teachers() error {
	names := make([]string, 0, len(d.Teachers))
	for n := range d.Teachers {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := oneOf("distill.teachers", n, "dense-dense", "dense-language", "dense-vision"); err != nil {
			return err
		}
		if err := positive("distill.teachers."+n, d.Teachers[n]); err != nil {
			return err
		}
	}
	if d.Lambda > 0 && len(names) == 0 {
		return fmt.Errorf("distill.teachers: found none with lambda %v, want at least one", d.Lambda)
	}
	return nil
}

func sourceOf(field string, s Source, required bool) error {
	if !s.Given() && !required {
		return nil
	}
	if err := oneOf(field+".format", s.Format, "fashiongrid", "llava", "parquet"); err != nil {
		return err
	}
	if err := within(field+".limit", float64(s.Limit), 0, 1<<40); err != nil {
		return err
	}
	switch {
	case s.Format == "fashiongrid":
		return oneOf(field+".split", s.Split, "test", "train", "validation")
	case s.Path == "":
		return given(field+".path", s.Path)
	case s.Format == "parquet" && s.Images != "":
		return fmt.Errorf("%s.images: found %q, want none: Parquet carries its images", field, s.Images)
	}
	return nil
}

func pattern(field, value string, required bool) error {
	if value == "" && !required || value == Dense && !required || strings.Contains(value, ":") {
		return nil
	}
	return fmt.Errorf("%s: found %q, want unstructured:RATIO or N:M", field, value)
}

func given(field, value string) error {
	if value == "" {
		return fmt.Errorf("%s: missing", field)
	}
	return nil
}

func oneOf(field, value string, valid ...string) error {
	if !slices.Contains(valid, value) {
		return fmt.Errorf("%s: found %q, want one of %s", field, value, strings.Join(valid, ", "))
	}
	return nil
}

func within(field string, value, lo, hi float64) error {
	if !(value >= lo && value <= hi) {
		return fmt.Errorf("%s: found %v, want %v to %v", field, value, lo, hi)
	}
	return nil
}

func positive(field string, value float64) error {
	if !(value > 0) || math.IsInf(value, 0) {
		return fmt.Errorf("%s: found %v, want a positive number", field, value)
	}
	return nil
}

func matches(field, value string, form *regexp.Regexp, want string) error {
	if !form.MatchString(value) {
		return fmt.Errorf("%s: found %q, want %s", field, value, want)
	}
	return nil
}
