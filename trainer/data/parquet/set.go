package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"

	"ressa/trainer/data"
)

// Row groups that are kept, the least recently used given up first.
const (
	keptGroups = 8
	keptBytes  = maxGroupBytes
)

// Set is an opened file or folder. It is safe for concurrent use.
type Set struct {
	files  []*part
	rows   int
	images *os.Root // for images that are paths; may be nil

	mu   sync.Mutex
	kept []kept // the most recently used last
}

// part is one Parquet file.
type part struct {
	path   string
	reader *file.Reader
	layout layout
	first  int   // row of the set that it starts with
	starts []int // row of the file that each row group starts with
}

type kept struct {
	file  *part
	index int
	group group
}

var _ data.Dataset = (*Set)(nil)

// Open opens a Parquet file, or all *.parquet files of a folder, and checks their
// columns. images is the folder of images that the rows name by path; it may be
// empty. A set without rows is an error.
func Open(ctx context.Context, path, images string) (s *Set, err error) {
	names := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open parquet: %w", err)
	} else if info.IsDir() {
		if names, err = filepath.Glob(filepath.Join(path, "*.parquet")); err != nil {
			return nil, fmt.Errorf("open parquet: %w", err)
		}
		sort.Strings(names)
	}
	s = &Set{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	if images != "" {
		if s.images, err = os.OpenRoot(images); err != nil {
			return s, fmt.Errorf("open image folder: %w", err)
		}
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		f, err := os.Open(name)
		if err != nil {
			return s, fmt.Errorf("open parquet: %w", err)
		}
		if err := s.add(name, f); err != nil {
			return s, errors.Join(fmt.Errorf("parquet %s: %w", name, err), f.Close())
		}
	}
	if s.rows == 0 {
		return s, fmt.Errorf("parquet %s: has no rows", path)
	}
	return s, nil
}

// source is what a Parquet file is read from.
type source interface {
	io.ReaderAt
	io.Seeker
}

// add opens a file and appends its rows.
func (s *Set) add(name string, f source) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged: %v", p)
		}
	}()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	properties := parquet.NewReaderProperties(bounded{memory.DefaultAllocator})
	properties.BufferedStreamEnabled = true
	r, err := file.NewParquetReader(f, file.WithReadProps(properties))
	if err != nil {
		return err
	}
	p := &part{path: name, reader: r, first: s.rows}
	if p.layout, err = readLayout(r); err != nil {
		return err
	}
	rows, err := checkSizes(r, p.layout, size)
	if err != nil {
		return err
	}
	start := 0
	for i := range r.NumRowGroups() {
		p.starts = append(p.starts, start)
		start += int(r.MetaData().RowGroup(i).NumRows())
	}
	s.files = append(s.files, p)
	s.rows += int(rows)
	return nil
}

// Len implements [data.Dataset].
func (s *Set) Len() int { return s.rows }

// Example implements [data.Dataset]. It reads the row's row group unless that is
// kept.
func (s *Set) Example(i int) (data.Example, error) {
	if i < 0 || i >= s.rows {
		return data.Example{}, fmt.Errorf("parquet: no row %d among %d", i, s.rows)
	}
	p := s.files[sort.Search(len(s.files), func(j int) bool { return s.files[j].first > i })-1]
	row := i - p.first
	index := sort.Search(len(p.starts), func(j int) bool { return p.starts[j] > row }) - 1
	g, err := s.group(p, index)
	if err == nil {
		var x data.Example
		if x, err = s.example(p, g, row-p.starts[index], fmt.Sprintf("%s row %d", p.path, row)); err == nil {
			if x.ID == "" {
				x.ID = fmt.Sprint(i)
			}
			return x, nil
		}
	}
	return data.Example{}, fmt.Errorf("parquet %s: row %d: %w", p.path, row, err)
}

// group returns a row group, read or kept.
func (s *Set) group(p *part, index int) (group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.kept {
		if k.file == p && k.index == index {
			s.kept = append(slices.Delete(s.kept, i, i+1), k)
			return k.group, nil
		}
	}
	g, err := readGroup(p.reader, index, p.layout)
	if err != nil {
		return g, fmt.Errorf("row group %d: %w", index, err)
	}
	s.kept = append(s.kept, kept{p, index, g})
	total := 0
	for _, k := range s.kept {
		total += k.group.bytes
	}
	for len(s.kept) > 1 && (len(s.kept) > keptGroups || total > keptBytes) {
		total -= s.kept[0].group.bytes
		s.kept = slices.Delete(s.kept, 0, 1)
	}
	return g, nil
}

// Close closes the files.
func (s *Set) Close() error {
	var errs []error
	for _, p := range s.files {
		errs = append(errs, p.reader.Close())
	}
	if s.images != nil {
		errs = append(errs, s.images.Close())
	}
	return errors.Join(errs...)
}
