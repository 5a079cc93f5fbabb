package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/checkpoint/objects"
)

var (
	archivedManifest = regexp.MustCompile(`^step-\d{10,}\.generation-\d{6,}\.([0-9a-f]{64})\.json$`)
	archivedBlob     = regexp.MustCompile(`^[0-9a-f]{64}\.safetensors$`)
)

// holding is what an archive's folder holds.
type holding struct {
	manifests []Listed                // oldest step first
	files     map[string]objects.Info // by name without the folder
}

// names reports whether a sound manifest names the blob of m, and it is there.
func (h holding) names(m Manifest) bool {
	return h.present(m) && slices.ContainsFunc(h.manifests, func(l Listed) bool { return l.Err == nil && l.Manifest.SHA256 == m.SHA256 })
}

func (h holding) present(m Manifest) bool {
	o, ok := h.files[m.Blob]
	return ok && o.Size == m.Bytes
}

// list reads the folder and all of its manifests.
func (a *Archive) list(ctx context.Context) (holding, error) {
	h := holding{files: map[string]objects.Info{}}
	var there []objects.Info
	err := a.try(ctx, 0, func(ctx context.Context) (err error) {
		there, err = a.Objects.List(ctx, a.Folder)
		return err
	})
	if err != nil {
		return h, fmt.Errorf("list: %w", err)
	}
	for _, o := range there {
		h.files[strings.TrimPrefix(o.Name, a.Folder+"/")] = o
	}
	for name, o := range h.files {
		if !archivedManifest.MatchString(name) {
			continue
		}
		m, err := a.readManifest(ctx, o)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another writer removed it just now
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			return h, err
		}
		h.manifests = append(h.manifests, Listed{File: o.Name, Manifest: m, Err: err})
	}
	slices.SortFunc(h.manifests, func(a, b Listed) int { return strings.Compare(a.File, b.File) })
	return h, nil
}

func (a *Archive) readManifest(ctx context.Context, o objects.Info) (m Manifest, err error) {
	if o.Size > maxManifestBytes {
		return m, fmt.Errorf("%w: manifest %s: found %d bytes, expected at most %d", ErrDamaged, o.Name, o.Size, maxManifestBytes)
	}
	var text []byte
	err = a.try(ctx, o.Size, func(ctx context.Context) error {
		body, err := a.Objects.Get(ctx, o.Name)
		if err != nil {
			return err
		}
		text, err = io.ReadAll(io.LimitReader(body, maxManifestBytes+1))
		return errors.Join(err, body.Close())
	})
	if err != nil {
		return m, err
	}
	if m, err = parseManifest(text); err != nil {
		return Manifest{}, fmt.Errorf("%w: manifest %s: %w", ErrDamaged, o.Name, err)
	}
	if m.archived() != path.Base(o.Name) {
		return Manifest{}, fmt.Errorf("%w: manifest %s: found that of step %d, generation %d, blob %s, expected them to agree with its name", ErrDamaged, o.Name, m.Step, m.Generation, m.SHA256)
	}
	if ArchiveFolder(m.Identity) != a.Folder {
		return Manifest{}, fmt.Errorf("%w: manifest %s: found that of another job", ErrDamaged, o.Name)
	}
	return m, nil
}

// Newest copies the newest whole checkpoint of more steps than above into a store,
// as one of a generation, and with it the best one by Retention. It returns the
// steps of the newest, 0 where there is none, and what it passed over.
func (a *Archive) Newest(ctx context.Context, into *Store, above, generation int) (steps int, skipped []Skipped, err error) {
	h, err := a.list(ctx)
	if err != nil {
		return 0, nil, err
	}
	slices.Reverse(h.manifests)
	list := slices.DeleteFunc(slices.Clone(h.manifests), func(l Listed) bool { return l.Err == nil && l.Manifest.Step <= above })
	if !slices.ContainsFunc(list, func(l Listed) bool { return l.Err == nil }) {
		return 0, nil, nil
	}
	newest, skipped, err := a.first(ctx, list, into, generation)
	if err != nil || newest == nil || a.Retention.BestBy == "" {
		return stepsOf(newest), skipped, err
	}
	var scored []Listed
	for _, l := range h.manifests {
		if _, ok := l.Manifest.Metrics[a.Retention.BestBy]; ok && l.Err == nil && l.Manifest.Step <= newest.Step {
			scored = append(scored, l)
		}
	}
	slices.SortStableFunc(scored, func(x, y Listed) int { return a.Retention.compare(x.Manifest, y.Manifest) })
	_, more, err := a.first(ctx, scored, into, generation)
	return newest.Step, append(skipped, more...), err
}

func stepsOf(m *Manifest) int {
	if m == nil {
		return 0
	}
	return m.Step
}

// Fetch copies the checkpoint of a step into a store, as one of a generation. The
// error is ErrNone where there is none that is whole.
func (a *Archive) Fetch(ctx context.Context, into *Store, step, generation int) error {
	h, err := a.list(ctx)
	if err != nil {
		return err
	}
	slices.Reverse(h.manifests)
	list := slices.DeleteFunc(h.manifests, func(l Listed) bool { return l.Err != nil || l.Manifest.Step != step })
	m, _, err := a.first(ctx, list, into, generation)
	if err == nil && m == nil {
		err = fmt.Errorf("%w of step %d", ErrNone, step)
	}
	return err
}

// first copies the first whole checkpoint of a list, nil where none is.
func (a *Archive) first(ctx context.Context, list []Listed, into *Store, generation int) (*Manifest, []Skipped, error) {
	var skipped []Skipped
	for _, l := range list {
		err := l.Err
		if err == nil {
			if err = a.fetch(ctx, l.Manifest, into, generation); err == nil {
				return &l.Manifest, skipped, nil
			}
		}
		if !errors.Is(err, ErrDamaged) {
			return nil, skipped, err
		}
		skipped = append(skipped, Skipped{File: l.File, Err: err})
	}
	return nil, skipped, nil
}

// fetch copies one checkpoint into a store, blob before manifest. Its hash is
// verified on the way.
func (a *Archive) fetch(ctx context.Context, m Manifest, into *Store, generation int) error {
	if err := os.MkdirAll(into.Dir, 0o777); err != nil {
		return err
	}
	unlock, err := lock(ctx, into.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := durable.Create(into.Dir)
	if err != nil {
		return err
	}
	defer f.Discard()
	err = a.try(ctx, m.Bytes, func(ctx context.Context) error { return a.download(ctx, m, f) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w of step %d: %s is missing", ErrDamaged, m.Step, a.name(m.Blob))
	case err != nil && !errors.Is(err, ErrDamaged) && ctx.Err() == nil:
		// Where the store still answers, it is this object that cannot be had.
		if _, gone := a.Objects.List(ctx, a.Folder); gone == nil {
			return fmt.Errorf("%w of step %d: %s: %w", ErrDamaged, m.Step, a.name(m.Blob), err)
		}
		return err
	case err != nil:
		return err
	}
	if err := f.Commit(m.Blob); err != nil {
		return err
	}
	m.Generation = generation
	text, err := m.encode()
	if err != nil {
		return err
	}
	return into.writeManifest(m.name(), text)
}

func (a *Archive) download(ctx context.Context, m Manifest, f *durable.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	body, err := a.Objects.Get(ctx, a.name(m.Blob))
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(within{ctx, body}, m.Bytes+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != m.SHA256 {
		return fmt.Errorf("%w of step %d: %s: found SHA-256 %s of %d bytes, expected %s of %d", ErrDamaged, m.Step, a.name(m.Blob), sum, n, m.SHA256, m.Bytes)
	}
	return nil
}
