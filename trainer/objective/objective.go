package objective

import (
	"fmt"

	"ressa/trainer/model"
)

// Teacher says which towers of a teacher are dense. The other tower is the
// student's own, without gradient: what makes the distillation cross-modal.
type Teacher struct {
	Name             string
	Vision, Language model.Variant
	Weight           float64
}

// Teachers are the valid names.
func Teachers() []string { return []string{"dense-dense", "dense-language", "dense-vision"} }

// NewTeacher returns the teacher of that name.
func NewTeacher(name string, weight float64) (Teacher, error) {
	t := Teacher{Name: name, Weight: weight}
	switch name {
	case "dense-dense":
		t.Vision, t.Language = model.Dense, model.Dense
	case "dense-vision":
		t.Vision, t.Language = model.Dense, model.Student
	case "dense-language":
		t.Vision, t.Language = model.Student, model.Dense
	default:
		return t, fmt.Errorf("teacher %q is none of %v", name, Teachers())
	}
	if !(weight > 0) {
		return t, fmt.Errorf("weight of teacher %s: %v is not positive", name, weight)
	}
	return t, nil
}

// The normalisations of the distillation term.
const (
	// TokenMean averages over answer tokens and multiplies by T².
	TokenMean = "token"
	// BatchMean sums over every position, padding and image tokens included, and
	// divides by the sequences of the step, without T²: the paper's code.
	BatchMean = "batchmean"
)

// Config is the objective of a job.
type Config struct {
	Lambda      float64 // weight of the distillation, 0 … 1
	Temperature float64
	Reduction   string // TokenMean or BatchMean
	Teachers    []Teacher
}

// Check reports the first bad field.
func (c Config) Check() error {
	switch {
	case !(c.Lambda >= 0 && c.Lambda <= 1):
		return fmt.Errorf("lambda: %v is not within 0 … 1", c.Lambda)
	case !(c.Temperature > 0):
		return fmt.Errorf("temperature: %v is not positive", c.Temperature)
	case c.Reduction != TokenMean && c.Reduction != BatchMean:
		return fmt.Errorf("kl_reduction: %q is none of [%s %s]", c.Reduction, BatchMean, TokenMean)
	case c.Lambda > 0 && len(c.Teachers) == 0:
		return fmt.Errorf("lambda is %v but there is no teacher", c.Lambda)
	}
	return nil
}

// Distils reports whether teachers have to run.
func (c Config) Distils() bool { return c.Lambda > 0 }

// Scales are the factors of one step: what the sums over rows of cross-entropy
// and divergence are multiplied with. They depend on the whole step, so that a
// microbatch's share does not depend on how the step was cut.
type Scales struct {
	CE, KL float64
}

// Scales returns the factors for a step of this many answer tokens and sequences.
func (c Config) Scales(tokens, sequences int) Scales {
	s := Scales{CE: (1 - c.Lambda) / float64(tokens), KL: c.Lambda * c.Temperature * c.Temperature / float64(tokens)}
	if c.Reduction == BatchMean {
		s.KL = c.Lambda / float64(sequences)
	}
	return s
}
