package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"ressa/trainer/checkpoint/durable"
)

// Directory keeps objects as files below Root, which has to be there: a network
// file system that is not mounted must not be written beside.
type Directory struct{ Root string }

func (d Directory) path(name string) string { return filepath.Join(d.Root, filepath.FromSlash(name)) }

func (d Directory) there() error {
	info, err := os.Stat(d.Root)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case err == nil && !info.IsDir():
		return fmt.Errorf("%w: %s is a file, want a directory", ErrRefused, d.Root)
	}
	return err
}

// Put implements [Store].
func (d Directory) Put(ctx context.Context, name string, body *io.SectionReader) (err error) {
	if err := d.there(); err != nil {
		return err
	}
	folder := filepath.Dir(d.path(name))
	var f *durable.File
	for range 2 { // whoever removes the folder's last file removes it, too
		if err = os.MkdirAll(folder, 0o777); err == nil {
			f, err = durable.Create(folder)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return refusedPermission(err)
	}
	defer f.Discard()
	if _, err := io.Copy(f, reader{ctx, body}); err != nil {
		return err
	}
	return f.Commit(path.Base(name))
}

// Get implements [Store].
func (d Directory) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, refusedPermission(err)
	}
	return struct {
		io.Reader
		io.Closer
	}{reader{ctx, f}, f}, nil
}

// List implements [Store]. Files that a killed process did not finish are listed
// under the names that package durable gave them.
func (d Directory) List(ctx context.Context, folder string) ([]Info, error) {
	if err := errors.Join(ctx.Err(), d.there()); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, refusedPermission(err)
	}
	var out []Info
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Info{folder + "/" + e.Name(), info.Size(), info.ModTime()})
	}
	return out, nil
}

// Delete implements [Store].
func (d Directory) Delete(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), d.there()); err != nil {
		return err
	}
	err := os.Remove(d.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return refusedPermission(err)
	}
	if folder := filepath.Dir(d.path(name)); folder != filepath.Clean(d.Root) {
		_ = os.Remove(folder) // where nothing else is in it
	}
	return nil
}

// Close implements [Store].
func (Directory) Close() error { return nil }

func refusedPermission(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// reader ends with its context, between two reads.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
