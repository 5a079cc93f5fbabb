package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is a temporary directory that takes its final place only with Commit.
// Every Dir ends in Commit or Discard.
type Dir struct {
	// Path is the temporary directory, a sibling of the target.
	Path   string
	target string
	done   bool
}

// CreateDir returns an empty temporary directory beside target, making the
// parents of target where they are missing.
func CreateDir(target string) (*Dir, error) {
	target, err := filepath.Abs(target)
	if err != nil {
		return nil, err
	}
	// A link to a directory stays a link; what it points to is replaced.
	if real, err := filepath.EvalSymlinks(target); err == nil {
		target = real
	}
	parent := filepath.Dir(target)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return nil, err
	}
	path := tempName(parent)
	if err := os.Mkdir(path, 0o777); err != nil {
		return nil, fmt.Errorf("create temporary directory: %w", err)
	}
	return &Dir{Path: path, target: target}, nil
}

// Commit makes everything in the directory durable and moves it to the target.
// An empty target is replaced; one that is not empty only with replace, and
// then its old contents are removed once the new ones are in place. After an
// error the target is as it was and nothing is left of the temporary directory.
func (d *Dir) Commit(replace bool) error {
	if d.done {
		return errors.New("directory was committed or discarded before")
	}
	defer d.Discard()
	if err := syncTree(d.Path); err != nil {
		return err
	}
	if err := d.move(replace); err != nil {
		return err
	}
	return Sync(filepath.Dir(d.target))
}

func (d *Dir) move(replace bool) error {
	entries, err := os.ReadDir(d.target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(entries) > 0 && !replace:
		return fmt.Errorf("%s: the directory is not empty", d.target)
	case len(entries) > 0:
		// What stays under d.Path, the old contents, goes with Discard.
		return exchange(d.Path, d.target)
	default:
		// rename(2) replaces an empty directory, but not on every system.
		if err := os.Remove(d.target); err != nil {
			return err
		}
	}
	if err := os.Rename(d.Path, d.target); err != nil {
		return err
	}
	d.done = true
	return nil
}

// swapByRenames exchanges two directories in two steps, for systems that
// cannot do it in one; a failure of the second step undoes the first.
func swapByRenames(fresh, target string) error {
	aside := tempName(filepath.Dir(target))
	if err := os.Rename(target, aside); err != nil {
		return err
	}
	if err := os.Rename(fresh, target); err != nil {
		return errors.Join(err, os.Rename(aside, target))
	}
	return os.Rename(aside, fresh)
}

// Discard removes the temporary directory; after Commit it does nothing.
func (d *Dir) Discard() {
	if d.done {
		return
	}
	d.done = true
	_ = os.RemoveAll(d.Path)
}

// syncTree syncs every file and directory below root.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() || e.Type().IsRegular() {
			return Sync(path)
		}
		return nil
	})
}
