package checkpoint

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ressa/trainer/checkpoint/safetensors"
)

// A real full disk, where the test may mount one.
func TestFullTmpfs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := &Store{Dir: dir}
	save(t, s, snapshot(10))
	before := files(t, dir)
	large := snapshot(20)
	large.Tensors = append(large.Tensors, safetensors.NewEntry("large", safetensors.Tensor{
		DType: safetensors.F32, Shape: []int{1 << 18}, Data: make([]byte, 1<<20),
	}))
	if _, err := s.Save(context.Background(), large); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v, want ENOSPC", err)
	}
	if got := files(t, dir); !slices.Equal(got, before) {
		t.Errorf("left %q, want %q", got, before)
	}
	c, skipped, err := s.Latest(context.Background(), identity())
	if err != nil || len(skipped) != 0 || c.Step != 10 {
		t.Fatalf("after the full disk: %v, %v", err, skipped)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	save(t, s, snapshot(30))
}
