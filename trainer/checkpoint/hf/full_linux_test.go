package hf

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ressa/trainer/checkpoint/safetensors"
)

// A real full disk, where the test may mount one.
func TestFullTmpfs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	source := openFolder(t, "testdata/llava")
	large := specOf(t, source)
	large.Weights = append(large.Weights, zeros("large", safetensors.U8, []int{1 << 20}))
	dir := filepath.Join(disk, "out")
	if err := Write(context.Background(), dir, large); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v, want ENOSPC", err)
	}
	if left := list(t, disk); len(left) != 0 {
		t.Errorf("left %q", left)
	}
	if err := Write(context.Background(), dir, specOf(t, source)); err != nil {
		t.Errorf("with the space back: %v", err)
	}
}
