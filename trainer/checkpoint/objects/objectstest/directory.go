package objectstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Directory is a directory that all nodes see.
type Directory struct {
	Dir string
	t   testing.TB
}

// NewDirectory makes a directory.
func NewDirectory(t testing.TB) *Directory {
	t.Helper()
	d := &Directory{filepath.Join(t.TempDir(), "shared"), t}
	if err := os.Mkdir(d.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

// URL is the value of train.checkpoint_store.
func (d *Directory) URL() string { return "file://" + d.Dir }

// Names are the names of all objects.
func (d *Directory) Names() []string { return below(d.t, d.Dir) }

// Stop takes the directory away, as where it is not mounted.
func (d *Directory) Stop() { d.move(d.Dir, d.Dir+".away") }

// Start brings it back.
func (d *Directory) Start() { d.move(d.Dir+".away", d.Dir) }

func (d *Directory) move(from, to string) {
	if err := os.Rename(from, to); err != nil {
		d.t.Error(err)
	}
}

// below returns the files below a directory.
func below(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(name))
		}
		return nil // what is removed meanwhile is not there
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
