package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tempMark is in the names of all temporary files and directories, so that
// what a killed process left behind can be told from everything else.
const tempMark = ".ressa-tmp-"

// IsTemp reports whether a file name is that of a temporary file or directory
// made by this package.
func IsTemp(name string) bool { return strings.HasPrefix(filepath.Base(name), tempMark) }

// File is a temporary file that becomes visible under its final name only with
// Commit. Every File ends in Commit or Discard.
type File struct {
	*os.File
	dir  string
	done bool
}

// Create returns an empty temporary file in dir, which must exist.
func Create(dir string) (*File, error) {
	f, err := os.OpenFile(tempName(dir), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	return &File{File: f, dir: dir}, nil
}

func tempName(dir string) string { return filepath.Join(dir, tempMark+rand.Text()) }

// Commit makes the contents durable and renames the file to name, a plain file
// name in the same directory, replacing what has that name. After an error
// nothing is left of the temporary file.
func (f *File) Commit(name string) error {
	if f.done {
		return errors.New("file was committed or discarded before")
	}
	if err := f.seal(); err != nil {
		f.Discard()
		return err
	}
	path := filepath.Join(f.dir, name)
	if err := os.Rename(f.Name(), path); err != nil {
		f.Discard()
		return err
	}
	f.done = true
	return Sync(f.dir)
}

func (f *File) seal() error {
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// Discard removes the temporary file; after Commit it does nothing, so that it
// can be deferred.
func (f *File) Discard() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close() // closed already when Commit failed late
	_ = os.Remove(f.Name())
}

// WriteFile writes data to path by a temporary file in the same directory.
func WriteFile(path string, data []byte) error {
	f, err := Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit(filepath.Base(path))
}

// Sync makes the contents of a file, or the entries of a directory, durable.
func Sync(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// Sweep removes temporary files and directories that killed processes left in
// dir. Nobody may be writing there.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if IsTemp(e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
