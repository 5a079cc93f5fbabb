package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"ressa/trainer/checkpoint/safetensors"
)

// Listed is one manifest of a store.
type Listed struct {
	File     string // path of the manifest
	Manifest Manifest
	Err      error // why the manifest cannot be used; it is zero then
}

// Skipped is a checkpoint that was passed over, and why.
type Skipped struct {
	File string
	Err  error
}

// Checkpoint is a loaded, verified checkpoint. Its tensors are mapped: they must
// not be used after Close.
type Checkpoint struct {
	Manifest
	file *safetensors.File
}

// Names returns the names of the tensors, sorted.
func (c *Checkpoint) Names() []string { return c.file.Names() }

// Tensor returns a tensor, F32; the error is safetensors.ErrNoTensor.
func (c *Checkpoint) Tensor(name string) (safetensors.Tensor, error) { return c.file.Tensor(name) }

// Close unmaps the tensors.
func (c *Checkpoint) Close() error { return c.file.Close() }

// List returns all manifests, oldest step first. It reads no blob. A store whose
// directory is not there is empty.
func (s *Store) List() ([]Listed, error) {
	names, err := manifestNames(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Listed
	for _, name := range names {
		path := filepath.Join(s.Dir, name)
		m, err := readManifest(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a writer removed it just now
		}
		if err != nil {
			m = Manifest{}
		}
		list = append(list, Listed{File: path, Manifest: m, Err: err})
	}
	return list, nil
}

// Latest loads the newest checkpoint that is whole, and returns those that it
// passed over because they are damaged, newest first. A checkpoint that does not
// match want is an error at once: an older one would not be the job's either. The
// error is ErrNone, ErrDamaged, ErrOtherJob or ErrOtherKind.
func (s *Store) Latest(ctx context.Context, want Identity) (*Checkpoint, []Skipped, error) {
	list, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	slices.Reverse(list)
	return s.first(ctx, list, want)
}

// Best loads the best checkpoint by the store's Retention, as Latest does the
// newest; checkpoints without the metric do not count.
func (s *Store) Best(ctx context.Context, want Identity) (*Checkpoint, []Skipped, error) {
	list, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	var scored []Listed
	for _, l := range list {
		if _, ok := l.Manifest.Metrics[s.Retention.BestBy]; ok {
			scored = append(scored, l)
		}
	}
	slices.SortStableFunc(scored, func(a, b Listed) int { return s.Retention.compare(a.Manifest, b.Manifest) })
	return s.first(ctx, scored, want)
}

// first loads the first whole checkpoint of a list.
func (s *Store) first(ctx context.Context, list []Listed, want Identity) (*Checkpoint, []Skipped, error) {
	var skipped []Skipped
	for _, l := range list {
		err := l.Err
		if err == nil {
			var c *Checkpoint
			if c, err = s.load(ctx, l, want); err == nil {
				return c, skipped, nil
			}
		}
		if !errors.Is(err, ErrDamaged) {
			return nil, skipped, err
		}
		skipped = append(skipped, Skipped{File: l.File, Err: err})
	}
	if len(skipped) > 0 {
		return nil, skipped, fmt.Errorf("%s: none of %d checkpoints is whole; the newest: %w", s.Dir, len(skipped), skipped[0].Err)
	}
	return nil, nil, fmt.Errorf("%s: %w", s.Dir, ErrNone)
}

// Load loads the checkpoint of a step, of its newest generation. The errors are
// those of [Store.Latest].
func (s *Store) Load(ctx context.Context, step int, want Identity) (*Checkpoint, error) {
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	prefix := fmt.Sprintf("step-%010d.", step)
	list = slices.DeleteFunc(list, func(l Listed) bool {
		name := filepath.Base(l.File)
		return len(name) < len(prefix) || name[:len(prefix)] != prefix
	})
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: %w of step %d", s.Dir, ErrNone, step)
	}
	slices.Reverse(list)
	if list[0].Err != nil {
		return nil, list[0].Err
	}
	return s.load(ctx, list[0], want)
}

// load verifies and maps one checkpoint.
func (s *Store) load(ctx context.Context, l Listed, want Identity) (*Checkpoint, error) {
	m := l.Manifest
	if err := m.Matches(want); err != nil {
		return nil, fmt.Errorf("%s: %w", l.File, err)
	}
	path := filepath.Join(s.Dir, m.Blob)
	damaged := func(found string, args ...any) error {
		return fmt.Errorf("%w of step %d: %s: %s; resume from an older checkpoint or restore the file from a copy", ErrDamaged, m.Step, path, fmt.Sprintf(found, args...))
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, damaged("the file is missing")
	case err != nil:
		return nil, err
	case info.Size() != m.Bytes:
		return nil, damaged("found %d bytes, expected %d", info.Size(), m.Bytes)
	}
	// The blob is parsed before it is hashed only in order to map it once; what
	// the parser refuses has another hash, too.
	file, err := safetensors.Open(path)
	if err != nil {
		return nil, damaged("%v", err)
	}
	c := &Checkpoint{Manifest: m, file: file}
	if err := c.verify(ctx, damaged); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return c, nil
}

func (c *Checkpoint) verify(ctx context.Context, damaged func(string, ...any) error) error {
	sum, err := c.file.SHA256(ctx)
	if err != nil {
		return err
	}
	if sum != c.SHA256 {
		return damaged("found SHA-256 %s, expected %s", sum, c.SHA256)
	}
	if n := len(c.file.Names()); n != c.Tensors {
		return damaged("found %d tensors, expected %d", n, c.Tensors)
	}
	return nil
}
