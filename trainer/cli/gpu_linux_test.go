//go:build cgo

package cli_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/coordinator/api"
)

// fewSteps are replacements for what takes seconds there.
func fewSteps(more ...string) []string {
	return append(more, "steps: 40", "steps: 3", "batch: 12", "batch: 4", "microbatches: 4", "microbatches: 2", "calibration_samples: 20", "calibration_samples: 4",
		"questions: 120, batch: 30", "questions: 4, batch: 4", "blind: true", "blind: false")
}

// trained runs a job and returns its losses, what its first phase says and its result.
func (s scenario) trained(args ...string) (losses []float64, on string, r api.Result) {
	s.Helper()
	stdout := s.succeed(append([]string{"repair", "-o", "json", "--output", filepath.Join(s.TempDir(), "run")}, args...)...)
	for line := range strings.Lines(stdout) {
		var e api.Event
		s.check(json.Unmarshal([]byte(line), &e))
		if e.Event == "step" {
			losses = append(losses, e.Step.Loss)
		}
		if e.Phase == "prepare" {
			on = e.Message
		}
	}
	return losses, on, s.result(stdout)
}

func close(a, b []float64, tolerance float64) bool {
	for i := range a {
		if len(a) != len(b) || !(math.Abs(a[i]-b[i]) <= tolerance*math.Abs(a[i])) {
			return false
		}
	}
	return len(a) > 0
}

// A GPU trains what the processor trains, with the same bits on every run and any
// number of nodes.
func TestJobsOnAGPU(t *testing.T) {
	s := newScenario(t)
	s.onShim()
	job := s.job(fewSteps()...)
	want, _, _ := s.trained(job, "--device", "cpu")
	losses, on, one := s.trained(job)
	if !strings.HasPrefix(on, "on cuda:0 (shim), cuda-") || !strings.HasPrefix(one.NumericKind, "cuda-") {
		t.Errorf("auto computes %q, kind %s", on, one.NumericKind)
	}
	// Each is the mean of some 10 answers after at most two updates.
	if !close(want, losses, 1e-4) {
		t.Errorf("losses %v, on the processor %v", losses, want)
	}
	rounded, _, half := s.trained(s.job(fewSteps("learning_rate: 0.02", "learning_rate: 0.02, compute: bf16")...))
	if !strings.Contains(half.NumericKind, "-bf16/") || half.AdapterSHA256 == one.AdapterSHA256 || !close(want, rounded, 3e-2) {
		t.Errorf("in bf16 kind %s, losses %v, want about %v", half.NumericKind, rounded, want)
	}
	_, _, two := s.trained(job, "--local", "2", "--device", "cuda")
	if two.AdapterSHA256 != one.AdapterSHA256 || two.NumericKind != one.NumericKind || len(one.AdapterSHA256) != 64 {
		t.Errorf("two nodes: adapter %s, kind %s; one: %s, %s", two.AdapterSHA256, two.NumericKind, one.AdapterSHA256, one.NumericKind)
	}
}

func TestWithoutAGPU(t *testing.T) {
	s := newScenario(t)
	s.Setenv("LD_LIBRARY_PATH", "")
	for _, c := range []struct{ job, device, want string }{
		{s.job(), "cuda", "--device cuda:0: cuda: load the driver: libcuda.so.1: "},
		{s.job(), "cuda:3", "--device cuda:3: cuda: load the driver: libcuda.so.1: "},
		{s.job(), "gpu", `--device: found "gpu", want auto, cpu, cuda or cuda:N`},
		{s.job("learning_rate: 0.02", "learning_rate: 0.02, compute: bf16"), "cpu", "train.compute: found bf16, which needs a GPU: the processor computes in fp32"},
		{s.job("learning_rate: 0.02", "learning_rate: 0.02, compute: bf16"), "auto", "fp32, and no GPU is used: cuda: load the driver: "},
	} {
		dir := filepath.Join(t.TempDir(), "run")
		o := s.run("repair", c.job, "--device", c.device, "--output", dir)
		if o.code != api.ExitInvalid || !strings.Contains(o.stderr, c.want) {
			t.Errorf("%s: exit %d, %q, want %q", c.device, o.code, o.stderr, c.want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s left %s", c.device, dir)
		}
	}
	// Nodes that nobody will join are not waited for.
	o := s.run("repair", s.job("learning_rate: 0.02", "learning_rate: 0.02, compute: bf16"), "--local", "2", "--output", filepath.Join(t.TempDir(), "run"))
	if o.code != api.ExitInvalid || !strings.Contains(o.stderr, "train.compute: found bf16, in which no node of this machine computes; no GPU is used: ") {
		t.Errorf("on a cluster of this machine: exit %d, %q", o.code, o.stderr)
	}
	_, on, _ := s.trained(s.job(fewSteps()...))
	if !strings.HasPrefix(on, "on cpu, cpu-") || !strings.Contains(on, "; no GPU is used: cuda: ") {
		t.Errorf("auto computes %q", on)
	}
}
