package shim

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock waits until no other process has the file locked.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, err
	}
	return f.Close, nil // which ends the lock
}
