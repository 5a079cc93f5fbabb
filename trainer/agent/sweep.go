package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"ressa/trainer/checkpoint/durable"
)

// sweep removes what a process that was killed left half-written in the folders of
// jobs. The node's folder is locked: nobody else writes there.
func sweep(dir string) error {
	var errs []error
	err := filepath.WalkDir(filepath.Join(dir, "jobs"), func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			errs = append(errs, err)
		case durable.IsTemp(path):
			errs = append(errs, os.RemoveAll(path))
			if e.IsDir() {
				return fs.SkipDir
			}
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}
