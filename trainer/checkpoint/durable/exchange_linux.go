package durable

import (
	"errors"

	"golang.org/x/sys/unix"
)

// exchange swaps two directories atomically where the file system can.
func exchange(fresh, target string) error {
	err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, target, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return swapByRenames(fresh, target)
	}
	return err
}
