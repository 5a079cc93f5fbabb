package snapshot

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Format is the version of the file that this package writes.
const Format = 1

// MaxState is the largest state in bytes, MaxFile the largest file.
const (
	MaxState = 512 << 20
	MaxFile  = MaxState
)

// MaxIndex is the largest index and term: Raft counts on from them, and no log comes
// near it.
const MaxIndex = 1 << 62

// ErrDamaged is returned for a file that is no snapshot, or none any more.
var ErrDamaged = errors.New("not a whole snapshot")

// Meta says where a snapshot comes from.
type Meta struct {
	Format      int       `json:"format"`
	Index       uint64    `json:"index"` // of the Raft log
	Term        uint64    `json:"term"`
	At          time.Time `json:"at"`
	Ressa       string    `json:"ressa"`       // version of the coordinator
	Coordinator string    `json:"coordinator"` // that led
	Bytes       int64     `json:"bytes"`       // of the state
	SHA256      string    `json:"sha256"`      // of the state
}

// Names of what is in the file, in this order.
const (
	metaName  = "meta.json"
	stateName = "state.json"
	sumsName  = "SHA256SUMS"
)

const maxMeta = 64 << 10

// Write writes a snapshot. It fills in the format, the size and the sum.
func Write(w io.Writer, m Meta, state []byte) error {
	m.Format, m.Bytes, m.SHA256 = Format, int64(len(state)), fmt.Sprintf("%x", sha256.Sum256(state))
	m.At = m.At.UTC()
	meta, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	meta = append(meta, '\n')
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, f := range []struct {
		name string
		data []byte
	}{{metaName, meta}, {stateName, state}, {sumsName, sums(meta, state)}} {
		h := &tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.data)), ModTime: m.At.Truncate(time.Second), Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		if _, err := t.Write(f.data); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// sums is what sha256sum -c checks an unpacked file with.
func sums(meta, state []byte) []byte {
	return fmt.Appendf(nil, "%x  %s\n%x  %s\n", sha256.Sum256(meta), metaName, sha256.Sum256(state), stateName)
}

// Read reads a snapshot and checks all of it. Errors wrap [ErrDamaged].
func Read(r io.Reader) (Meta, []byte, error) {
	m, state, err := read(r)
	if err != nil {
		return Meta{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, state, nil
}

func read(r io.Reader) (m Meta, state []byte, err error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return m, nil, fmt.Errorf("want the file that ressa operator snapshot save wrote: %w", err)
	}
	t := tar.NewReader(z)
	meta, err := entry(t, metaName, maxMeta)
	if err != nil {
		return m, nil, err
	}
	// Of a newer format no more is known than its number.
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(meta, &head); err != nil {
		return m, nil, fmt.Errorf("%s: %w", metaName, err)
	}
	if head.Format != Format {
		return m, nil, fmt.Errorf("found format %d, want %d", head.Format, Format)
	}
	d := json.NewDecoder(bytes.NewReader(meta))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, nil, fmt.Errorf("%s: %w", metaName, err)
	}
	if m.Index > MaxIndex || m.Term > MaxIndex {
		return m, nil, fmt.Errorf("%s: found index %d and term %d, want at most %d", metaName, m.Index, m.Term, uint64(MaxIndex))
	}
	if state, err = entry(t, stateName, MaxState); err != nil {
		return m, nil, err
	}
	said, err := entry(t, sumsName, maxMeta)
	if err != nil {
		return m, nil, err
	}
	if _, err := t.Next(); err != io.EOF {
		return m, nil, fmt.Errorf("more than %s, %s and %s in it", metaName, stateName, sumsName)
	}
	if n, err := io.Copy(io.Discard, z); err != nil || n > 0 { // also checks what gzip keeps behind the data
		return m, nil, fmt.Errorf("%d bytes behind the end: %w", n, orEnd(err))
	}
	if m.Bytes != int64(len(state)) || m.SHA256 != fmt.Sprintf("%x", sha256.Sum256(state)) || !bytes.Equal(said, sums(meta, state)) {
		return m, nil, errors.New("the checksums are of other contents")
	}
	return m, state, nil
}

func orEnd(err error) error {
	if err == nil {
		return errors.New("not part of it")
	}
	return err
}

// entry reads the next file of the archive, which must have this name.
func entry(t *tar.Reader, name string, most int64) ([]byte, error) {
	h, err := t.Next()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if h.Name != name || h.Typeflag != tar.TypeReg || h.Size > most {
		return nil, fmt.Errorf("found %q of %d bytes, want the file %s of at most %d", h.Name, h.Size, name, most)
	}
	b, err := io.ReadAll(t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}
