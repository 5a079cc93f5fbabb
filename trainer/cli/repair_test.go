package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ressa/coordinator/api"
)

func TestInitIsValid(t *testing.T) {
	s := newScenario(t)
	o := s.feed(strings.NewReader(s.succeed("init")), "validate", "-")
	if o.code != 0 || !strings.Contains(o.stdout, "valid") {
		t.Errorf("exit %d, %q, %q", o.code, o.stdout, o.stderr)
	}
}

// score is what eval -o json prints, as far as it is compared.
type score struct {
	api.Score
	Blind *api.Score `json:"blind"`
}

func (s scenario) eval(model string, flags ...string) score {
	s.Helper()
	args := append([]string{"eval", model, "-o", "json", "--limit", "120", "--batch", "30", "--max-new-tokens", "1", "--max-length", "128"}, flags...)
	var out score
	s.check(json.Unmarshal([]byte(s.succeed(args...)), &out))
	return out
}

func TestRepair(t *testing.T) {
	s := newScenario(t)
	dir := filepath.Join(t.TempDir(), "run")
	// The shipped model, whose scores differ between dense, pruned and repaired.
	stdout := s.succeed("repair", s.job("MODEL", "demo"), "--output", dir, "-o", "json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var fields map[string]any
	s.check(json.Unmarshal([]byte(lines[len(lines)-1]), &fields))
	for _, name := range []string{"event", "job", "state", "dense", "pruned", "repaired", "blind", "sparsity", "pattern", "steps", "seconds", "generations",
		"steps_lost", "numeric_kind", "adapter_sha256", "output", "ranks"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the result has no %s: %s", name, lines[len(lines)-1])
		}
	}
	r := s.result(stdout)
	if r.State != api.Succeeded || r.Steps != 40 || r.Generations != 1 || r.Sparsity["vision"] != 0.5 || r.Sparsity["language"] != 0.5 || len(r.AdapterSHA256) != 64 {
		t.Errorf("result %+v", r)
	}
	if r.Repaired.Correct == r.Pruned.Correct || r.Dense.Correct == r.Pruned.Correct {
		t.Errorf("%d right dense, %d pruned, %d repaired: too alike to prove anything below", r.Dense.Correct, r.Pruned.Correct, r.Repaired.Correct)
	}

	// What was exported scores what was trained.
	exported := s.eval(r.Output, "--blind")
	if exported.Correct != r.Repaired.Correct || exported.Blind.Correct != r.Blind.Correct || exported.Low != r.Repaired.Low || len(exported.Kinds) != len(r.Repaired.Kinds) {
		t.Errorf("exported %+v (blind %+v), want %+v (blind %+v)", exported.Score, exported.Blind, r.Repaired, r.Blind)
	}
	if dense := s.eval("demo", "--dtype", "bf16"); dense.Correct != r.Dense.Correct {
		t.Errorf("dense %d right, want %d", dense.Correct, r.Dense.Correct)
	}

	// Pruning alone gives the masks and the score of the job.
	sparse := filepath.Join(t.TempDir(), "sparse")
	s.succeed("prune", "demo", "--output", sparse, "--limit", "300", "--calibration-samples", "20", "--max-length", "128", "--dtype", "bf16")
	if pruned := s.eval(sparse); pruned.Correct != r.Pruned.Correct {
		t.Errorf("pruned %d right, want %d", pruned.Correct, r.Pruned.Correct)
	}
	own, err := os.ReadFile(filepath.Join(sparse, "masks.safetensors"))
	s.check(err)
	ofJob, err := os.ReadFile(filepath.Join(r.Output, "masks.safetensors"))
	s.check(err)
	if string(own) != string(ofJob) {
		t.Error("prune wrote other masks than the job with the same seed")
	}

	// The run's last checkpoint exports to the same bits again.
	again := filepath.Join(t.TempDir(), "again")
	s.succeed("export", dir, "--output", again)
	s.same(r.Output, again)
	adapter := filepath.Join(t.TempDir(), "adapter")
	s.succeed("export", dir, "--output", adapter, "--adapter-only")
	want, err := os.ReadFile(filepath.Join(r.Output, "adapter", "adapter_model.safetensors"))
	s.check(err)
	if got, err := os.ReadFile(filepath.Join(adapter, "adapter_model.safetensors")); err != nil || string(got) != string(want) {
		t.Errorf("--adapter-only: %v, or other bytes than the run's own", err)
	}
	earlier := filepath.Join(t.TempDir(), "earlier")
	if out := s.succeed("export", dir, "--output", earlier, "--step", "30"); !strings.Contains(out, "30") {
		t.Errorf("export of step 30 printed %q", out)
	}
}

func TestImport(t *testing.T) {
	s := newScenario(t)
	sparse, taken := filepath.Join(t.TempDir(), "sparse"), filepath.Join(t.TempDir(), "taken")
	s.succeed("prune", s.model(), "--output", sparse, "--pattern", "2:4", "--vision", "unstructured:0.4", "--method", "magnitude")
	masks, err := os.ReadFile(filepath.Join(sparse, "masks.safetensors"))
	s.check(err)
	s.check(os.Remove(filepath.Join(sparse, "masks.safetensors")))
	var report struct {
		Patterns map[string]string  `json:"patterns"`
		Sparsity map[string]float64 `json:"sparsity"`
		Doubts   []string           `json:"doubtful_zeros"`
	}
	s.check(json.Unmarshal([]byte(s.succeed("prune", "--import", sparse, "--output", taken, "-o", "json")), &report))
	if report.Patterns["language"] != "2:4" || !strings.HasPrefix(report.Patterns["vision"], "unstructured:0.") || len(report.Doubts) != 0 {
		t.Errorf("report %+v", report)
	}
	if got, err := os.ReadFile(filepath.Join(taken, "masks.safetensors")); err != nil || string(got) != string(masks) {
		t.Errorf("imported masks: %v, or not those that pruned", err)
	}
	s.sameWeights(sparse, taken)
	// Masks that came along are verified, and trained under.
	s.succeed("prune", "--import", taken, "--output", filepath.Join(t.TempDir(), "verified"))
	r := s.repair(s.job("calibration_samples: 20", "vision: \"unstructured:0.4\", masks: "+taken, "steps: 40", "steps: 2"), filepath.Join(t.TempDir(), "run"))
	if r.Sparsity["vision"] > 0.41 || r.Sparsity["vision"] < 0.39 {
		t.Errorf("sparsity %v, want that of the imported masks", r.Sparsity)
	}
	for want, args := range map[string][]string{
		"not pruned": {"prune", "--import", s.model()},
		"keeps":      {"prune", "--import", sparse, "--pattern", "1:4", "--vision", "dense"},
	} {
		o := s.run(append(args, "--output", filepath.Join(t.TempDir(), "no"))...)
		if o.code != api.ExitInvalid || !strings.Contains(o.stderr, want) {
			t.Errorf("%v: exit %d, %q, want %q", args, o.code, o.stderr, want)
		}
	}
}

// sameWeights compares the weights of two folders.
func (s scenario) sameWeights(a, b string) {
	s.Helper()
	x, err := os.ReadFile(filepath.Join(a, "model.safetensors"))
	s.check(err)
	y, err := os.ReadFile(filepath.Join(b, "model.safetensors"))
	s.check(err)
	if string(x) != string(y) {
		s.Errorf("weights differ between %s and %s", a, b)
	}
}

func TestThreadsDoNotShow(t *testing.T) {
	s := newScenario(t)
	one := s.repair(s.job(), filepath.Join(t.TempDir(), "one"), "--threads", "1")
	two := s.repair(s.job(), filepath.Join(t.TempDir(), "two"), "--threads", "2")
	if one.AdapterSHA256 != two.AdapterSHA256 || one.BaseSHA256 != two.BaseSHA256 {
		t.Errorf("adapters %s and %s, bases %s and %s", one.AdapterSHA256, two.AdapterSHA256, one.BaseSHA256, two.BaseSHA256)
	}
	s.same(one.Output, two.Output)
}

func TestResumeReachesTheSameBits(t *testing.T) {
	s := newScenario(t)
	job := s.job("checkpoint_every: 10", "checkpoint_every: 10, validate_every: 20, patience: 9")
	want := s.repair(job, filepath.Join(t.TempDir(), "whole"))
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		code   int
	}{{"SIGKILL", syscall.SIGKILL, -1}, {"SIGTERM", syscall.SIGTERM, api.ExitCancelled}, {"SIGINT", syscall.SIGINT, api.ExitCancelled}} {
		t.Run(c.name, func(t *testing.T) {
			s := scenario{t, s.files}
			dir := filepath.Join(t.TempDir(), "run")
			o := s.interrupt(c.signal, 5, "repair", job, "--output", dir) // before the first checkpoint
			if o.code != c.code {
				t.Errorf("exit %d, want %d\n%s", o.code, c.code, o.stderr)
			}
			if c.code == api.ExitCancelled {
				if !strings.Contains(o.stderr, "ressa resume "+dir) {
					t.Errorf("no hint how to go on: %q", o.stderr)
				}
				if r := s.result(o.stdout); r.State != api.Cancelled {
					t.Errorf("state %q", r.State)
				}
			}
			if out := s.succeed("status", dir, "-o", "json"); !strings.Contains(out, map[bool]string{true: api.Interrupted, false: api.Cancelled}[c.code < 0]) {
				t.Errorf("status %s", out)
			}
			s.interrupt(c.signal, 23, "resume", dir)
			got := s.result(s.succeed("resume", dir, "-o", "json"))
			if got.AdapterSHA256 != want.AdapterSHA256 || got.Repaired.Correct != want.Repaired.Correct {
				t.Errorf("adapter %s, %d right; uninterrupted %s, %d right", got.AdapterSHA256, got.Repaired.Correct, want.AdapterSHA256, want.Repaired.Correct)
			}
			s.same(want.Output, got.Output)
			if o := s.run("resume", dir); o.code != api.ExitInvalid || !strings.Contains(o.stderr, "succeeded") {
				t.Errorf("resume of a finished run: exit %d, %q", o.code, o.stderr)
			}
		})
	}
}
