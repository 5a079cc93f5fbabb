package job_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/coordinator/api"
	"ressa/trainer/checkpoint"
	"ressa/trainer/job"
	"ressa/trainer/step"
)

// interrupted runs the job in dir and cancels it at the first event that until
// picks.
func (b *bench) interrupted(dir string, until func(api.Event) bool) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o := b.options(dir)
	o.Emit = func(e api.Event) {
		if until(e) {
			cancel()
		}
	}
	r, err := job.Run(ctx, b.job, o)
	if api.ExitCode(err) != api.ExitCancelled || r.State != api.Cancelled {
		b.Fatalf("the interrupted run ended as %q: %v", r.State, err)
	}
}

func TestResumeGivesTheBitsOfAnUninterruptedRun(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps = 4
	whole := filepath.Join(b.dir, "whole")
	want, err := job.Run(context.Background(), b.job, b.options(whole))
	b.check(err)
	weights := b.read("whole/output/model.safetensors")
	for name, until := range map[string]func(api.Event) bool{
		"calibrating":        func(e api.Event) bool { return e.Phase == "calibrate" },
		"before a step":      func(e api.Event) bool { return e.Phase == "train" },
		"after a checkpoint": func(e api.Event) bool { return e.Event == "checkpoint" && e.Done == 2 },
		"between them":       func(e api.Event) bool { return e.Step != nil && e.Step.Step == 3 },
		"exporting":          func(e api.Event) bool { return e.Phase == "export" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			b.interrupted(dir, until)
			s, err := job.Status(dir, b.options(dir).Now())
			b.check(err)
			if s.State != api.Cancelled {
				t.Errorf("state %q", s.State)
			}
			if _, err := os.Stat(filepath.Join(dir, "output")); err == nil {
				t.Error("an interrupted run left an output")
			}
			got, err := job.Resume(context.Background(), b.options(dir))
			if err != nil {
				t.Fatal(err)
			}
			if got.AdapterSHA256 != want.AdapterSHA256 || got.BaseSHA256 != want.BaseSHA256 || got.Steps != want.Steps {
				t.Errorf("adapter %s, base %s, want %s, %s", got.AdapterSHA256, got.BaseSHA256, want.AdapterSHA256, want.BaseSHA256)
			}
			resumed, err := os.ReadFile(filepath.Join(dir, "output/model.safetensors"))
			b.check(err)
			if !bytes.Equal(resumed, weights) {
				t.Error("the exported weights differ")
			}
			if _, err := job.Resume(context.Background(), b.options(dir)); api.ExitCode(err) != api.ExitInvalid {
				t.Errorf("resuming a run that has succeeded: %v", err)
			}
		})
	}
}

// A run whose blocks keep everything goes on with blocks that keep their inputs.
func TestResumeWithOtherRecomputing(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps = 3
	want, err := job.Run(context.Background(), b.job, b.options(filepath.Join(b.dir, "whole")))
	b.check(err)
	b.interrupted(filepath.Join(b.dir, "run"), func(e api.Event) bool { return e.Event == "checkpoint" && e.Done == 1 })
	file := b.read("run/job.yaml")
	other := bytes.Replace(file, []byte("recompute: none"), []byte("recompute: blocks"), 1)
	if bytes.Equal(file, other) {
		t.Fatal("job.yaml does not say what is computed again")
	}
	b.write("run/job.yaml", other)
	var peak int
	o := b.options(filepath.Join(b.dir, "run"))
	o.Emit = func(e api.Event) {
		if e.Step != nil {
			peak = e.Step.PeakMemory
		}
	}
	got, err := job.Resume(context.Background(), o)
	b.check(err)
	if got.AdapterSHA256 != want.AdapterSHA256 {
		t.Errorf("adapter %s, want %s", got.AdapterSHA256, want.AdapterSHA256)
	}
	if peak == 0 || peak >= want.PeakMemory {
		t.Errorf("a step peaks at %d bytes, at %d where everything is kept", peak, want.PeakMemory)
	}
}

func TestResumeRefuses(t *testing.T) {
	b := newBench(t)
	dir := filepath.Join(b.dir, "run")
	b.interrupted(dir, func(e api.Event) bool { return e.Event == "checkpoint" })
	job1 := b.read("run/job.yaml")

	t.Run("another job's checkpoint", func(t *testing.T) {
		b.write("run/job.yaml", bytes.Replace(job1, []byte("learning_rate: "), []byte("learning_rate: 1"), 1))
		defer b.write("run/job.yaml", job1)
		_, err := job.Resume(context.Background(), b.options(dir))
		if !errors.Is(err, checkpoint.ErrOtherJob) || api.ExitCode(err) != api.ExitInvalid {
			t.Errorf("exit code %d: %v", api.ExitCode(err), err)
		}
	})
	t.Run("a folder without a run", func(t *testing.T) {
		_, err := job.Resume(context.Background(), b.options(t.TempDir()))
		if api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "holds no run") {
			t.Error(err)
		}
	})
	t.Run("a folder with a run, for another", func(t *testing.T) {
		if _, err := b.run(); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "holds a run already") {
			t.Error(err)
		}
	})
	t.Run("a run that another process holds", func(t *testing.T) {
		o := b.options(dir)
		var inner error
		o.Emit = func(e api.Event) {
			if e.Phase == "prepare" {
				_, inner = job.Resume(context.Background(), b.options(dir))
			}
		}
		_, err := job.Resume(context.Background(), o)
		b.check(err)
		if !errors.Is(inner, job.ErrBusy) || api.ExitCode(inner) != api.ExitInvalid {
			t.Errorf("exit code %d: %v", api.ExitCode(inner), inner)
		}
	})
}

func TestALossThatIsNotFiniteEndsTheRun(t *testing.T) {
	b := newBench(t)
	b.job.Train.LR, b.job.Train.ClipNorm = 1e38, 0
	dir, err := b.run()
	if !errors.Is(err, step.ErrNotFinite) || api.ExitCode(err) != api.ExitFailed {
		t.Fatalf("exit code %d: %v", api.ExitCode(err), err)
	}
	s, err := job.Status(dir, b.options(dir).Now())
	b.check(err)
	if s.State != api.Failed || !strings.Contains(s.Error, "not finite") {
		t.Errorf("status %+v", s)
	}
	for _, left := range []string{"output", "result.json"} {
		if _, err := os.Stat(filepath.Join(dir, left)); err == nil {
			t.Errorf("%s is left", left)
		}
	}
}

// TestARunThatStoppedEarlyStaysStopped interrupts one after its last step: at a
// learning rate that changes nothing, the second validation is no better.
func TestARunThatStoppedEarlyStaysStopped(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps, b.job.Train.LR, b.job.Train.ValidateEvery, b.job.Train.Patience = 6, 1e-12, 1, 1
	b.job.Data.Validation = api.Source{Format: "fashiongrid", Split: "validation"}
	b.job.Evaluate.ValidationLimit, b.job.Evaluate.MaxNewTokens = 8, 1
	want, err := job.Run(context.Background(), b.job, b.options(filepath.Join(b.dir, "whole")))
	b.check(err)
	if want.Steps != 2 {
		t.Fatalf("stopped after %d steps, want 2", want.Steps)
	}
	dir := filepath.Join(b.dir, "interrupted")
	b.interrupted(dir, func(e api.Event) bool { return e.Phase == "export" })
	got, err := job.Resume(context.Background(), b.options(dir))
	b.check(err)
	if got.Steps != want.Steps || got.AdapterSHA256 != want.AdapterSHA256 {
		t.Errorf("resumed to %d steps and adapter %s, want %d and %s", got.Steps, got.AdapterSHA256, want.Steps, want.AdapterSHA256)
	}
}
