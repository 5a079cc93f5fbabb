package api

import (
	"errors"
	"strings"
	"testing"
)

const minimal = `
name: t
model: {path: demo}
data: {train: {format: fashiongrid, split: train}}
`

func TestParseJobFillsDefaults(t *testing.T) {
	job, err := ParseJob("job.yaml", strings.NewReader(minimal+"train: {steps: 5, warmup: 1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if job.Train.Steps != 5 || job.Train.Batch != Default().Train.Batch || job.Adapter.Rank != 8 {
		t.Errorf("steps %d, batch %d, rank %d", job.Train.Steps, job.Train.Batch, job.Adapter.Rank)
	}
	if len(job.Distill.Teachers) != 1 {
		t.Errorf("teachers %v, want the default one", job.Distill.Teachers)
	}
}

func TestTeachersReplaceTheDefault(t *testing.T) {
	job, err := ParseJob("job.yaml", strings.NewReader(minimal+"distill: {teachers: {dense-vision: 0.5}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(job.Distill.Teachers) != 1 || job.Distill.Teachers["dense-vision"] != 0.5 {
		t.Errorf("teachers %v", job.Distill.Teachers)
	}
}

func TestParseJobRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":   {minimal + "train: {stepz: 3}\n", `unknown key "train.stepz", did you mean "steps"?`},
		"unknown top":   {minimal + "zzzzzzzz: 3\n", "valid are"},
		"duplicate key": {minimal + "name: b\n", "name"},
		"type":          {minimal + "train: {steps: many}\n", "string"},
		"scalar":        {minimal + "train: 3\n", "train is integer"},
		"not yaml":      {"a: [", ""},
		"empty":         {"", "YAML documents"},
		"two documents": {minimal + "---\nname: b\n", "2 YAML documents"},
		"no model":      {"name: t\ndata: {train: {format: llava, path: x}}\n", "model.path: missing"},
		"no data":       {"name: t\nmodel: {path: x}\n", "data.train.format"},
		"bad enum":      {minimal + "prune: {method: wandaa}\n", `prune.method: found "wandaa"`},
		"bad pattern":   {minimal + "prune: {pattern: half}\n", "prune.pattern"},
		"too many":      {minimal + "train: {batch: 4, microbatches: 8}\n", "train.microbatches: found 8, want 1 to 4"},
		"nan":           {minimal + "train: {learning_rate: .nan}\n", "train.learning_rate"},
		"bad name":      {strings.Replace(minimal, "name: t", "name: ../t", 1), "name: found"},
	} {
		_, err := ParseJob("job.yaml", strings.NewReader(c.text))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want ErrInvalid with %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error has several lines: %q", name, err)
		}
	}
}

func FuzzParseJob(f *testing.F) {
	f.Add(minimal)
	f.Add(minimal + "distill: {teachers: {dense-vision: 0.5}}\n")
	f.Add("a: &x [*x]")
	f.Add("- 1")
	f.Fuzz(func(t *testing.T, text string) {
		job, err := ParseJob("fuzz", strings.NewReader(text))
		if err == nil && job.Validate() != nil {
			t.Errorf("accepted an invalid job: %v", job.Validate())
		}
	})
}

func TestDemoJobIsCompleteAndValid(t *testing.T) {
	job, err := ParseJob("demo", strings.NewReader(DemoJob()))
	if err != nil {
		t.Fatal(err)
	}
	if job.Model.Path != "demo" || job.Train.Steps < 1 || job.Evaluate.Questions < 10000 {
		t.Errorf("model %q, %d steps, %d questions", job.Model.Path, job.Train.Steps, job.Evaluate.Questions)
	}
}
