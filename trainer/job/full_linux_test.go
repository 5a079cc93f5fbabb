package job_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
	"ressa/trainer/job"
)

// A disk without room for what a generation begins with is its node's fault and passes:
// neither that worker nor the others blame the job for it.
func TestAFullDiskIsNoFaultOfTheJob(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	b := newBench(t)
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	b.job.Model.Path = job.DemoModel
	full := filepath.Join(b.dir, "full")
	b.check(os.Mkdir(full, 0o755))
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(full, 0); err != nil {
			t.Error(err)
		}
	})
	p := stages(2, 2, []int{len(profile.Towers[0].Blocks)}, []int{len(profile.Towers[1].Blocks)}, [][]int{{0}, {1}})
	if _, err := b.work(hub(t), p, 1, func(w int, o *job.Options, _ func()) {
		if w == 1 {
			o.Dir = filepath.Join(full, "run")
		}
	}); err == nil {
		t.Fatal("a model was written to a disk without room")
	}
	if err := b.errs[1]; !errors.Is(err, unix.ENOSPC) || api.ExitCode(err) == api.ExitInvalid {
		t.Errorf("whose disk is full: %v, want no space left and no exit code of its own", err)
	}
	// It may have been stopped before it began.
	if err := b.errs[0]; err != nil && api.ExitCode(err) == api.ExitInvalid {
		t.Errorf("the other: %v, which is no fault of the job", err)
	}
}
