package checkpoint

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// Retention says which checkpoints a store keeps: the last ones and the best.
type Retention struct {
	Last int // how many of the newest; 0 keeps all
	// BestBy is the metric by which the best one is kept, too; "" for none.
	BestBy string
	// Higher says that a higher metric is better.
	Higher bool
}

// compare orders manifests that have the metric, better first, then by step.
func (r Retention) compare(a, b Manifest) int {
	c := cmp.Compare(a.Metrics[r.BestBy], b.Metrics[r.BestBy])
	if r.Higher {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(a.Step, b.Step), cmp.Compare(a.Generation, b.Generation))
}

// retain removes the checkpoints that need not be kept, manifests first, so that
// one that is listed always has its blob. saved, just written, is always kept.
func (s *Store) retain(saved Manifest) error {
	if s.Retention.Last <= 0 {
		return nil
	}
	list, err := s.List()
	if err != nil {
		return err
	}
	blobs, keep, unreadable := map[string]bool{}, s.keep(list, saved), false
	var errs []error
	for _, l := range list {
		switch {
		case l.Err != nil:
			unreadable = true
		case keep[l.File]:
			blobs[l.Manifest.Blob] = true
		default:
			errs = append(errs, os.Remove(l.File))
		}
	}
	if unreadable {
		// Some blob belongs to a manifest that somebody may yet restore.
		return errors.Join(errs...)
	}
	return errors.Join(errors.Join(errs...), s.removeBlobs(blobs))
}

// keep returns the manifests to keep. Those whose blob is missing or cut do not
// count as one of the last.
func (s *Store) keep(list []Listed, saved Manifest) map[string]bool {
	keep := s.Retention.keep(list, s.present)
	keep[filepath.Join(s.Dir, saved.name())] = true
	return keep
}

// keep returns which of a list, oldest first, are the last and the best of those
// whose blob is present.
func (r Retention) keep(list []Listed, present func(Manifest) bool) map[string]bool {
	keep := map[string]bool{}
	last := 0
	var best *Listed
	for i := len(list) - 1; i >= 0; i-- {
		l := list[i]
		if l.Err != nil || !present(l.Manifest) {
			continue
		}
		if last < r.Last {
			keep[l.File] = true
			last++
		}
		if _, ok := l.Manifest.Metrics[r.BestBy]; ok {
			if best == nil || r.compare(l.Manifest, best.Manifest) < 0 {
				best = &list[i]
			}
		}
	}
	if best != nil {
		keep[best.File] = true
	}
	return keep
}

func (s *Store) present(m Manifest) bool {
	info, err := os.Stat(filepath.Join(s.Dir, m.Blob))
	return err == nil && info.Size() == m.Bytes
}

// removeBlobs removes the blobs that no manifest names. It touches no file that
// is not named as a blob is, in case the directory holds something else.
func (s *Store) removeBlobs(named map[string]bool) error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	pattern := regexp.MustCompile(`^[0-9a-f]{64}\.safetensors$`)
	var errs []error
	for _, e := range entries {
		if pattern.MatchString(e.Name()) && !named[e.Name()] {
			if err := os.Remove(filepath.Join(s.Dir, e.Name())); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
