package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// output is what a process wrote.
type output struct{ stdout, stderr []byte }

// last returns the last lines that it wrote, on stderr where it wrote there: they say why
// it failed.
func (o output) last() string {
	all := lines(string(o.stderr))
	if len(all) == 0 {
		all = lines(string(o.stdout))
	}
	return strings.Join(all[max(0, len(all)-4):], "\n")
}

// execute runs a program to its end, which it meets with all that it started when the
// context ends.
func execute(ctx context.Context, program string, args ...string) (output, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, 5*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "RESSA_CONFIG="+os.DevNull) // nothing of the user's own settings
	ended := make(chan error, 1)
	go func() { ended <- cmd.Run() }()
	select {
	case err := <-ended:
		return output{stdout.Bytes(), stderr.Bytes()}, err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return output{stdout.Bytes(), stderr.Bytes()}, err
	case <-time.After(2 * cmd.WaitDelay):
		// It hangs in the kernel, where no signal reaches it, as with a driver that does.
		// The goroutine ends with it, or with this process.
		return output{}, fmt.Errorf("%s cannot be ended", program)
	}
}

// own runs one of the binaries. What it wrote last is in the error.
func (c *check) own(ctx context.Context, name string, args ...string) (output, error) {
	path := filepath.Join(c.binaries, name)
	if _, err := os.Stat(path); err != nil {
		return output{}, fmt.Errorf("%s is missing: make gpu-check-binaries builds it (%w)", path, errors.Unwrap(err))
	}
	o, err := execute(ctx, path, args...)
	if errors.Is(err, fs.ErrPermission) {
		return o, fmt.Errorf("%s cannot be run: %w", path, err)
	}
	if err != nil {
		return o, fmt.Errorf("%s: %w\n%s", name, err, o.last())
	}
	return o, nil
}
