package job_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/trainer/job"
	"ressa/trainer/trace"
)

// A run of one process leaves its last steps, by which it can be looked at later.
func TestARunKeepsItsLastSteps(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps = 3
	dir := filepath.Join(b.dir, "run")
	o := b.options(dir)
	o.Trace = trace.New(trace.Config{Job: "j", Generation: 1, Node: "local", Keep: 2})
	_, err := job.Run(t.Context(), b.job, o)
	b.check(err)
	last, err := job.Trace(dir, 0)
	b.check(err)
	names := map[string]bool{}
	for _, s := range last.Spans {
		names[s.Name] = true
	}
	for _, name := range strings.Fields("step microbatch vision.forward teacher.forward language.forward loss language.backward vision.backward allreduce optimizer checkpoint") {
		if !names[name] {
			t.Errorf("step %d has no span %s", last.Step, name)
		}
	}
	if x, err := job.Trace(dir, 2); err != nil || last.Step != 3 || x.Step != 2 {
		t.Errorf("steps %d and %d, error %v", last.Step, x.Step, err)
	}
	for step, want := range map[int]string{1: "found 1, want one of the 2 to 3", -1: "--step: found -1"} {
		if _, err := job.Trace(dir, step); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("step %d: %v", step, err)
		}
	}
	for text, want := range map[string]string{"": "unexpected end", "[]": "found no step", `{"a"`: "unexpected end"} {
		b.check(os.WriteFile(filepath.Join(dir, "trace.json"), []byte(text), 0o644))
		if _, err := job.Trace(dir, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	b.check(os.Remove(filepath.Join(dir, "trace.json")))
	if _, err := job.Trace(dir, 0); err == nil || !strings.Contains(err.Error(), "has no trace.json") {
		t.Errorf("nothing there: %v", err)
	}
}
