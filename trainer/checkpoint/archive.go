package checkpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ressa/trainer/checkpoint/objects"
)

// Objects is what an archive asks of where it keeps its objects. An error that is
// no [objects.ErrRefused] and no [fs.ErrNotExist] may not be there the next time.
type Objects interface {
	// Put stores an object, whole or not at all.
	Put(ctx context.Context, name string, body *io.SectionReader) error
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	List(ctx context.Context, folder string) ([]objects.Info, error)
	Delete(ctx context.Context, name string) error
}

// Archive keeps copies of one job's checkpoints outside the nodes that train it.
// Its folder holds, of each checkpoint, the blob and then a manifest whose name
// tells step, generation and hash, so that no writer takes another's place:
//
//	<sha256 of the blob>.safetensors
//	step-0000000100.generation-000001.<sha256 of the blob>.json
//
// What a writer of an older generation writes late is one more checkpoint of the
// same job: the same blob, where the job is strict. There is no lock: it removes no
// blob that a manifest names, and none of the last hour that was never named.
type Archive struct {
	Objects   Objects
	Folder    string // of the job, as ArchiveFolder names it
	Retention Retention
	Patience  Patience
}

// Patience bounds what an archive waits for.
type Patience struct {
	Attempts int           // of every request that may go better the next time
	Pause    time.Duration // after the first one; doubles up to Request
	Request  time.Duration // limit of a request
	Rate     int64         // bytes/s that a blob moves at least; extends its limit
}

// DefaultPatience outlasts a server that restarts, and not one that is gone.
func DefaultPatience() Patience {
	return Patience{Attempts: 5, Pause: 500 * time.Millisecond, Request: 15 * time.Second, Rate: 1 << 20}
}

// grace is how old a blob gets, by the store's clock, before it counts as left
// behind: another writer may be about to name it.
const grace = time.Hour

// ArchiveFolder names the folder of a job. Jobs that could not use each other's
// checkpoints never share one.
func ArchiveFolder(id Identity) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{id.Job, id.Config, id.Base, id.NumericKind}, "\n")))
	return id.Job + "-" + hex.EncodeToString(sum[:8])
}

// archived is the manifest's name in an archive; names sort as steps do.
func (m Manifest) archived() string {
	return strings.TrimSuffix(m.name(), ".json") + "." + m.SHA256 + ".json"
}

// Check writes, lists and removes a small object, so that what is wrong with the
// store shows before it is needed.
func (a *Archive) Check(ctx context.Context) error {
	const folder = "ressa-probe"
	name := path.Join(folder, rand.Text())
	if err := a.put(ctx, name, []byte("ressa\n")); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	err := a.try(ctx, 0, func(ctx context.Context) error {
		list, err := a.Objects.List(ctx, folder)
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		if !slices.ContainsFunc(list, func(o objects.Info) bool { return o.Name == name }) {
			return fmt.Errorf("list: what was written is not there")
		}
		return nil
	})
	removed := a.try(ctx, 0, func(ctx context.Context) error { return a.Objects.Delete(ctx, name) })
	if err != nil || removed == nil {
		return err // the first error says more
	}
	return fmt.Errorf("remove: %w", removed)
}

// Save copies a checkpoint of a store and then removes what Retention does not
// keep. saved tells whether the checkpoint is in the archive, also where older ones
// could not be removed.
func (a *Archive) Save(ctx context.Context, from *Store, m Manifest) (saved bool, err error) {
	f, err := os.Open(filepath.Join(from.Dir, m.Blob))
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := verifyFile(ctx, f, m); err != nil {
		return false, err
	}
	text, err := m.encode()
	if err != nil {
		return false, err
	}
	before, err := a.list(ctx)
	if err != nil {
		return false, err
	}
	if !before.names(m) { // a blob that no manifest names may not be whole
		err := a.try(ctx, 2*m.Bytes, func(ctx context.Context) error { // a store may read back what it took
			return a.Objects.Put(ctx, a.name(m.Blob), io.NewSectionReader(f, 0, m.Bytes))
		})
		if err != nil {
			return false, err
		}
	}
	err = a.try(ctx, 0, func(ctx context.Context) error {
		there, err := a.Objects.List(ctx, a.Folder)
		if err == nil && !slices.ContainsFunc(there, func(o objects.Info) bool { return o.Name == a.name(m.Blob) && o.Size == m.Bytes }) {
			err = fmt.Errorf("%s was written and is not there", a.name(m.Blob))
		}
		return err
	})
	if err != nil {
		return false, err
	}
	if err := a.put(ctx, a.name(m.archived()), text); err != nil {
		return false, err
	}
	if err := a.retain(ctx, m); errors.Is(err, ErrDamaged) {
		return false, err
	} else if err != nil {
		return true, fmt.Errorf("the checkpoint is saved, but older ones could not be removed: %w", err)
	}
	return true, nil
}

func (a *Archive) name(file string) string { return a.Folder + "/" + file }

func (a *Archive) put(ctx context.Context, name string, text []byte) error {
	return a.try(ctx, 0, func(ctx context.Context) error {
		return a.Objects.Put(ctx, name, io.NewSectionReader(bytes.NewReader(text), 0, int64(len(text))))
	})
}

// verifyFile makes sure that a blob is what its manifest says.
func verifyFile(ctx context.Context, f *os.File, m Manifest) error {
	h := sha256.New()
	n, err := io.Copy(h, within{ctx, f})
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != m.SHA256 || n != m.Bytes {
		return fmt.Errorf("%w: %s: found SHA-256 %s of %d bytes, expected %s of %d", ErrDamaged, f.Name(), sum, n, m.SHA256, m.Bytes)
	}
	return nil
}

// within is a reader that ends with its context, between two reads.
type within struct {
	ctx context.Context
	io.Reader
}

func (w within) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Reader.Read(p)
}

// try makes a request that moves so many bytes until it succeeds, or is refused, or
// patience ends.
func (a *Archive) try(ctx context.Context, size int64, request func(context.Context) error) error {
	limit := a.Patience.Request
	if a.Patience.Rate > 0 {
		limit += time.Duration(size/a.Patience.Rate) * time.Second
	}
	pause := a.Patience.Pause
	for n := 1; ; n++ {
		rctx, cancel := context.WithTimeout(ctx, limit)
		err := request(rctx)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if n >= a.Patience.Attempts || errors.Is(err, objects.ErrRefused) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, a.Patience.Request)
	}
}
