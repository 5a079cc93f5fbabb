package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ressa/trainer/checkpoint/durable"
)

// retain removes the checkpoints that need not be kept, manifests first, and what
// killed writers left behind. saved, just written, is always kept.
func (a *Archive) retain(ctx context.Context, saved Manifest) error {
	if a.Retention.Last <= 0 {
		return nil
	}
	h, err := a.list(ctx)
	if err != nil {
		return err
	}
	if !h.present(saved) { // what it dropped had the same content as this one
		return fmt.Errorf("%w: %s was removed by another writer meanwhile", ErrDamaged, a.name(saved.Blob))
	}
	keep := a.Retention.keep(h.manifests, h.present)
	keep[a.name(saved.archived())] = true
	named, dropped := map[string]bool{}, map[string]bool{}
	var errs []error
	for _, l := range h.manifests {
		switch {
		case l.Err != nil: // somebody may yet restore it; its name tells the blob
			hash := archivedManifest.FindStringSubmatch(l.File[len(a.Folder)+1:])[1]
			named[hash+blobSuffix] = true
		case keep[l.File]:
			named[l.Manifest.Blob] = true
		default:
			if err := a.delete(ctx, l.File); err != nil {
				errs = append(errs, err)
				named[l.Manifest.Blob] = true
				continue
			}
			dropped[l.Manifest.Blob] = true
		}
	}
	var now time.Time // by the store's clock, which wrote the last object just now
	for _, o := range h.files {
		if o.Modified.After(now) {
			now = o.Modified
		}
	}
	for name, o := range h.files {
		left := archivedBlob.MatchString(name) || durable.IsTemp(name)
		if left && !named[name] && (dropped[name] || now.Sub(o.Modified) > grace) {
			errs = append(errs, a.delete(ctx, o.Name))
		}
	}
	return errors.Join(errs...)
}

func (a *Archive) delete(ctx context.Context, name string) error {
	return a.try(ctx, 0, func(ctx context.Context) error { return a.Objects.Delete(ctx, name) })
}
