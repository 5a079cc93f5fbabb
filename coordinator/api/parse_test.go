package api

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
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
		"unknown key":   {minimal + "train: {stepz: 3}\n", `line 5: unknown key "train.stepz", did you mean "steps"?`},
		"unknown top":   {minimal + "zzzzzzzz: 3\n", "valid are"},
		"long key":      {minimal + strings.Repeat("z", 30000) + ": 3\n", "valid are"},
		"duplicate key": {minimal + "name: b\n", `"name" already defined`},
		"scalar":        {minimal + "train: 3\n", "train is a number, want a mapping"},
		"list":          {minimal + "train:\n- steps: 3\n", "train is a list, want a mapping"},
		"not yaml":      {"a: [", "line 1"},
		"empty":         {"", "model.path: missing"},
		"a comment":     {"# nothing\n", "model.path: missing"},
		"two documents": {minimal + "---\nname: b\n", "2 YAML documents"},
		"no model":      {"name: t\ndata: {train: {format: llava, path: x}}\n", "model.path: missing"},
		"no data":       {"name: t\nmodel: {path: x}\n", "data.train.format"},
		"bad enum":      {minimal + "prune: {method: wandaa}\n", `prune.method: found "wandaa"`},
		"too many":      {minimal + "train: {batch: 4, microbatches: 8}\n", "train.microbatches: found 8, want at most train.batch, which is 4"},
		"bad name":      {strings.Replace(minimal, "name: t", "name: ../t", 1), "name: found"},
		"anchor":        {minimal + "train: &x {steps: 1}\n", "no anchors"},
		"alias":         {minimal + "train: *x\n", "no anchors"},
		"merge":         {minimal + "train: {<<: {steps: 1}}\n", "no anchors"},
		"tag":           {minimal + "seed: !!int 3\n", "no anchors"},
		"long tag":      {minimal + "seed: !" + strings.Repeat("t", 6000) + " 3\n", "no anchors"},
		"long value":    {minimal + "seed: " + strings.Repeat("1", 6000) + "\n", "seed: found 1111"},
		"large":         {minimal + "# " + strings.Repeat("x", MaxDocumentBytes), "more than 32768 bytes"},
		"deep":          {"a: " + strings.Repeat("[", 30000), "YAML tokens, want at most 4096"},
		"lines":         {minimal + strings.Repeat("\r", 9000), "lines, want at most 2000"},
		"generated":     {strings.Replace(minimal, "split: train", "split: train, limit: 2000000000", 1), "data.train.limit: found 2000000000, want at most 16777216"},
	} {
		refuses(t, name, c.text, c.want)
	}
}

// refuses fails unless a job file is refused in one line that says want after the
// name of the file, and names no type of this program.
func refuses(t *testing.T, name, text, want string) {
	t.Helper()
	_, err := ParseJob("job.yaml", strings.NewReader(text))
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "job.yaml: ") || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v, want ErrInvalid with %q", name, err, want)
		return
	}
	if len(err.Error()) > 500 {
		t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
	}
	for _, never := range []string{"\n", "int64", "uint64", "float64", "Go value", "Go struct"} {
		if strings.Contains(err.Error(), never) {
			t.Errorf("%s: the error has %q: %v", name, never, err)
		}
	}
}

func TestNumbersAreRefusedWithTheirRange(t *testing.T) {
	for text, want := range map[string]string{
		"seed: -1":                                "line 5: seed: found -1, want an integer from 0 to 18446744073709551615",
		"seed: 18446744073709551616":              "seed: found 18446744073709551616, want an integer from 0 to 18446744073709551615",
		"seed: 1.5":                               "seed: found 1.5, want an integer",
		"train: {steps: many}":                    "train.steps: found many, want an integer from 0 to 2147483647",
		`train: {steps: "3"}`:                     `train.steps: found "3", want an integer`,
		"train: {steps: 2147483648}":              "train.steps: found 2147483648, want an integer from 0 to 2147483647",
		"train: {steps: 99999999999999999999999}": "train.steps: found 99999999999999999999999, want an integer from 0 to 2147483647",
		"train: {steps: 1e9}":                     "train.steps: found 1e9, want an integer",
		"train: {steps: 0x10}":                    "train.steps: found 0x10, want an integer",
		"train: {steps: 1_0}":                     "train.steps: found 1_0, want an integer",
		"train: {steps: [3]}":                     "train.steps is a list, want an integer from",
		"train: {steps: }":                        "train.steps is empty, want an integer from",
		"train: {batch: 0}":                       "train.batch: found 0, want an integer from 1 to 1048576",
		"evaluate: {questions: 2147483648}":       "evaluate.questions: found 2147483648, want an integer from 0 to 2147483647",
		"train: {learning_rate: 1e300}":           "train.learning_rate: found 1e+300, want a number above 0 and at most 1000000",
		"train: {learning_rate: 1e400}":           "train.learning_rate: found 1e400, want a number above 0 and at most 1000000",
		"train: {learning_rate: 0}":               "train.learning_rate: found 0, want a number above 0",
		"train: {learning_rate: .nan}":            "train.learning_rate: found .nan, want a number above 0",
		"train: {learning_rate: NaN}":             "train.learning_rate: found NaN, want a number above 0",
		"train: {clip_norm: -.inf}":               "train.clip_norm: found -.inf, want a number from 0 to 1000000000",
		"train: {eps: 1e-300}":                    "train.eps: found 1e-300, want a number from 1e-30 to 1",
		"adapter: {alpha: fast}":                  "adapter.alpha: found fast, want a number above 0",
		"adapter: {projector: yes}":               "adapter.projector: found yes, want true or false",
		"distill: {teachers: {dense-dense: -1}}":  "distill.teachers.dense-dense: found -1, want a number above 0",
		"distill: {teachers: {dense: 1}}":         `distill.teachers: found "dense", want one of`,
		"distill: {teachers: 3}":                  "distill.teachers is a number, want a mapping",
		"prune: {pattern: [2, 4]}":                "prune.pattern is a list, want a string",
	} {
		refuses(t, text, minimal+text+"\n", want)
	}
}

func TestPatternsHaveOneSpelling(t *testing.T) {
	const groups, ratio = "want N:M with plain integers", "want unstructured:RATIO with a decimal"
	for text, want := range map[string]string{
		"4:4": groups, "5:4": groups, "0:4": groups, "2:65": groups, "+2:04": groups, "0x2:4": groups, "2:04": groups, " 2:4": groups, "2:4 ": groups, "2 :4": groups,
		"2:4:8": groups, "-1:4": groups, "2.0:4": groups, "2:": groups, ":4": groups, "999999999999999999999:4": groups, "Unstructured:0.5": groups,
		"unstructured:NaN": ratio, "unstructured:1": ratio, "unstructured:1.0": ratio, "unstructured:+0.5": ratio, "unstructured:-0": ratio, "unstructured:.5": ratio,
		"unstructured:0x1p-1": ratio, "unstructured:5e-1": ratio, "unstructured:": ratio, "unstructured:0.99999999999999999999": ratio, "unstructured:00.5": ratio,
		"half": "want unstructured:RATIO or N:M", "": "want unstructured:RATIO or N:M", "dense": "want unstructured:RATIO or N:M",
	} {
		refuses(t, text, minimal+fmt.Sprintf("prune: {pattern: %q}\n", text), fmt.Sprintf("job.yaml: prune.pattern: found %q, %s", text, want))
		if text != "" && text != Dense {
			refuses(t, text, minimal+fmt.Sprintf("prune: {vision: %q}\n", text), "job.yaml: prune.vision: found")
			refuses(t, text, minimal+fmt.Sprintf("prune: {language: %q}\n", text), "job.yaml: prune.language: found")
		}
	}
	for _, text := range []string{"2:4", "1:2", "63:64", "unstructured:0", "unstructured:0.0", "unstructured:0.7", "unstructured:0.00001"} {
		if _, err := ParseJob("job.yaml", strings.NewReader(minimal+fmt.Sprintf("prune: {pattern: %s, vision: %s, language: dense}\n", text, text))); err != nil {
			t.Error(err)
		}
	}
}

// What a job file says is what the run's folder keeps.
func TestJobsAreReadAsTheyAreWritten(t *testing.T) {
	for _, text := range []string{minimal, DemoJob(), minimal + "seed: 18446744073709551615\ntrain: {learning_rate: 3.0e-7, eps: 1e-30}\n",
		minimal + "distill: {lambda: 0, teachers: {}}\n", strings.Replace(minimal, "name: t", "name: 2024", 1), minimal + "export: {dtype: 'bf16'}\n"} {
		job, err := ParseJob("job.yaml", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		checkWritten(t, job)
	}
}

func checkWritten(t *testing.T, job Job) {
	t.Helper()
	raw, err := yaml.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseJob("again", bytes.NewReader(raw))
	if err != nil || !reflect.DeepEqual(again, job) {
		t.Errorf("%+v\nis written as\n%s\nand read as %+v, %v", job, raw, again, err)
	}
}

func TestFlat(t *testing.T) {
	got, err := Flat(strings.NewReader("threads: 3\noutput: 007\nverbose: true\n"))
	if err != nil || got["threads"] != "3" || got["output"] != "007" || got["verbose"] != "true" || len(got) != 3 {
		t.Errorf("found %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"threads: {a: 1}": "threads is a mapping, want one value", "[1]": "the file is a list", "a: &x 1": "no anchors", "a": "the file is a string",
	} {
		if got, err := Flat(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: found %v, %v, want %q", text, got, err, want)
		}
	}
}

func FuzzParseJob(f *testing.F) {
	for _, text := range []string{
		minimal, minimal + "distill: {teachers: {dense-vision: 0.5}}\n", "a: &x [*x]", "- 1", "a: |\n x\n", "{{{{a: ", "? a\n: b",
		strings.Repeat("[", 3000), strings.Repeat("- ", 1500), strings.Repeat("|\n", 1500), strings.Repeat("a: #\n", 1000), ">" + strings.Repeat("\n", 1900), "|" + strings.Repeat("\r", 1900), "\"1e9" + strings.Repeat("\t", 3000), strings.Repeat("*&'\t", 800),
		"\"" + strings.Repeat("\\n", 900),
		minimal + "train: {learning_rate: 1e-7, steps: 10, warmup: 0}\nprune: {pattern: unstructured:0.25}\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		job, err := ParseJob("fuzz", strings.NewReader(text))
		if err != nil {
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 4096 {
				t.Errorf("the error is long: %q", err)
			}
			return
		}
		checkWritten(t, job)
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
