package conversation

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"ressa/trainer/data"
	"ressa/trainer/data/picture"
)

// maxEntry bounds one entry in bytes.
const maxEntry = 16 << 20

// Set is an opened file. It is safe for concurrent use.
type Set struct {
	path   string
	file   *os.File
	folder *os.Root // nil where no entry has an image
	index  []span
}

type span struct{ offset, length int64 }

var _ data.Dataset = (*Set)(nil)

// Open reads and checks a JSON or JSON Lines file, and opens the folder of its
// images. An empty file is an error.
func Open(ctx context.Context, path, images string) (s *Set, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open conversations: %w", err)
	}
	s = &Set{path: path, file: file}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	withImages, err := s.scan(ctx)
	if err != nil {
		return s, fmt.Errorf("conversations %s: %w", path, err)
	}
	if withImages {
		if images == "" {
			return s, fmt.Errorf("conversations %s: entries have images, but no image folder is given", path)
		}
		if s.folder, err = os.OpenRoot(images); err != nil {
			return s, fmt.Errorf("open image folder: %w", err)
		}
	}
	return s, nil
}

// scan builds the index, checking every entry.
func (s *Set) scan(ctx context.Context) (withImages bool, err error) {
	r := bufio.NewReaderSize(s.file, 1<<16)
	start := int64(0) // of the first entry
	list := false
	for {
		c, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return false, fmt.Errorf("is empty")
		} else if err != nil {
			return false, err
		}
		if c == '[' {
			list = true
		} else if !bytes.ContainsRune([]byte(" \t\r\n"), rune(c)) {
			if err := r.UnreadByte(); err != nil {
				return false, err
			}
			break
		}
		start++
		if list {
			break
		}
	}
	if list {
		// The decoder is given the bracket back, so that it knows commas from errors.
		return s.scanEntries(ctx, io.MultiReader(bytes.NewReader([]byte{'['}), r), start-1, true)
	}
	return s.scanEntries(ctx, r, start, false)
}

func (s *Set) scanEntries(ctx context.Context, r io.Reader, base int64, list bool) (withImages bool, err error) {
	d := json.NewDecoder(r)
	if list {
		if _, err := d.Token(); err != nil {
			return false, err
		}
	}
	for d.More() {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n := len(s.index)
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return false, fmt.Errorf("entry %d: %w", n, err)
		}
		if len(raw) > maxEntry {
			return false, fmt.Errorf("entry %d: %d bytes are more than the limit of %d", n, len(raw), maxEntry)
		}
		e, _, err := parse(raw)
		if err != nil {
			return false, fmt.Errorf("entry %d (id %q): %w", n, e.ID, err)
		}
		withImages = withImages || len(e.Image) > 0
		s.index = append(s.index, span{base + d.InputOffset() - int64(len(raw)), int64(len(raw))})
	}
	if list {
		if _, err := d.Token(); err != nil {
			return false, fmt.Errorf("after entry %d: %w", len(s.index)-1, err)
		}
		if d.More() {
			return false, fmt.Errorf("text follows the list")
		}
	}
	if len(s.index) == 0 {
		return false, fmt.Errorf("has no entries")
	}
	return withImages, nil
}

// Len implements [data.Dataset].
func (s *Set) Len() int { return len(s.index) }

// Example implements [data.Dataset]. It reads one entry from the file.
func (s *Set) Example(i int) (data.Example, error) {
	if i < 0 || i >= len(s.index) {
		return data.Example{}, fmt.Errorf("conversations %s: no entry %d among %d", s.path, i, len(s.index))
	}
	raw := make([]byte, s.index[i].length)
	if _, err := s.file.ReadAt(raw, s.index[i].offset); err != nil {
		return data.Example{}, fmt.Errorf("conversations %s: entry %d: %w", s.path, i, err)
	}
	e, turns, err := parse(raw)
	if err != nil {
		return data.Example{}, fmt.Errorf("conversations %s changed: entry %d: %w", s.path, i, err)
	}
	x := data.Example{ID: string(e.ID), Turns: turns}
	if x.ID == "" {
		x.ID = fmt.Sprint(i)
	}
	for _, p := range e.Image {
		if s.folder == nil {
			return data.Example{}, fmt.Errorf("conversations %s changed: entry %d has an image now", s.path, i)
		}
		x.Images = append(x.Images, picture.File{Open: s.folder.Open, Name: filepath.FromSlash(p)})
	}
	return x, nil
}

// Close closes the file and the folder. Images cannot be decoded afterwards.
func (s *Set) Close() error {
	err := s.file.Close()
	if s.folder != nil {
		err = errors.Join(err, s.folder.Close())
	}
	return err
}
