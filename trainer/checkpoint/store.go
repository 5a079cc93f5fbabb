package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/checkpoint/safetensors"
)

// Store is a directory that holds the checkpoints of one job.
type Store struct {
	Dir       string
	Retention Retention

	create func(dir string) (pending, error) // nil: durable.Create
}

// pending is a file that appears when it is committed.
type pending interface {
	io.Writer
	Commit(name string) error
	Discard()
}

// Snapshot is a state to save.
type Snapshot struct {
	Identity
	Seed       uint64
	Step       int // steps that were applied
	Generation int
	CreatedAt  time.Time
	// Tensors are all F32, under names of the caller's choice.
	Tensors []safetensors.Entry
	Metrics map[string]float64
}

// Save writes a checkpoint and then removes what Retention does not keep. After
// an error the store is as it was before, unless the error says that the
// checkpoint is saved. It fails with ErrOtherJob or ErrStale for a store whose
// checkpoints are of another job, configuration or base, or of a newer generation.
func (s *Store) Save(ctx context.Context, snapshot Snapshot) (Manifest, error) {
	m, err := s.save(ctx, snapshot)
	if err != nil {
		return m, fmt.Errorf("save checkpoint of step %d in %s: %w", snapshot.Step, s.Dir, err)
	}
	return m, nil
}

func (s *Store) save(ctx context.Context, snapshot Snapshot) (Manifest, error) {
	m := Manifest{
		Format: manifestFormat, Identity: snapshot.Identity, Seed: snapshot.Seed, Step: snapshot.Step,
		Generation: snapshot.Generation, CreatedAt: snapshot.CreatedAt.UTC().Round(0),
		Tensors: len(snapshot.Tensors), Metrics: snapshot.Metrics,
	}
	if m.Metrics == nil {
		m.Metrics = map[string]float64{}
	}
	if err := m.check(); err != nil {
		return Manifest{}, err
	}
	for _, e := range snapshot.Tensors {
		if e.DType != safetensors.F32 {
			return Manifest{}, fmt.Errorf("tensor %q: found %v, expected F32", e.Name, e.DType)
		}
	}
	if err := os.MkdirAll(s.Dir, 0o777); err != nil {
		return Manifest{}, err
	}
	unlock, err := lock(ctx, s.Dir)
	if err != nil {
		return Manifest{}, err
	}
	defer unlock()
	if err := s.admit(m); err != nil {
		return Manifest{}, err
	}
	if err := durable.Sweep(s.Dir); err != nil {
		return Manifest{}, err
	}
	if err := s.write(ctx, &m, snapshot.Tensors); err != nil {
		return Manifest{}, err
	}
	if err := s.retain(m); err != nil {
		return m, fmt.Errorf("the checkpoint is saved, but older ones could not be removed: %w", err)
	}
	return m, nil
}

// admit refuses a save that does not belong here.
func (s *Store) admit(m Manifest) error {
	list, err := s.List()
	if err != nil {
		return err
	}
	for _, l := range list {
		if l.Err != nil {
			continue
		}
		there := l.Manifest
		if err := m.Matches(Identity{Job: there.Job, Config: there.Config, Base: there.Base}); err != nil {
			return fmt.Errorf("%s: %w", l.File, err)
		}
		if there.Generation > m.Generation {
			return fmt.Errorf("%w: found generation %d in %s, expected at most %d", ErrStale, there.Generation, l.File, m.Generation)
		}
	}
	return nil
}

// write writes the blob and then the manifest, or leaves neither.
func (s *Store) write(ctx context.Context, m *Manifest, tensors []safetensors.Entry) error {
	blob, err := s.createFile()
	if err != nil {
		return err
	}
	defer blob.Discard()
	written, err := safetensors.Encode(ctx, blob, tensors, nil)
	if err != nil {
		return err
	}
	m.SHA256, m.Bytes, m.Blob = written.SHA256, written.Bytes, written.SHA256+blobSuffix
	text, err := m.encode()
	if err != nil {
		return err
	}
	if m.Checksum, err = m.checksum(); err != nil {
		return err
	}
	path := filepath.Join(s.Dir, m.Blob)
	_, before := os.Stat(path)
	if err = blob.Commit(m.Blob); err == nil {
		err = s.writeManifest(m.name(), text)
	}
	if err != nil && errors.Is(before, fs.ErrNotExist) { // nobody else's blob
		_ = os.Remove(path)
	}
	return err
}

func (s *Store) writeManifest(name string, text []byte) error {
	f, err := s.createFile()
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Commit(name)
}

func (s *Store) createFile() (pending, error) {
	if s.create != nil {
		return s.create(s.Dir)
	}
	return durable.Create(s.Dir)
}
