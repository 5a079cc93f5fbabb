package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"

	"ressa/kernels/cuda/source"
)

// place is where the generated files are.
type place struct {
	folder string // of the sources
	page   string // with the table
}

// difference is a file that is not what the sources give.
type difference struct {
	file string
	want []byte // as it has to be on disk; nil: it must not be there
}

// compare returns what would have to change. Objects are compared as the compiler
// made them: how they are compressed may change with the library.
func (p place) compare(r *result) ([]difference, error) {
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("open the compressor: %w", err)
	}
	defer packer.Close()
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("open the decompressor: %w", err)
	}
	defer unpacker.Close()

	var changes []difference
	for _, name := range slices.Sorted(maps.Keys(r.objects)) {
		file := filepath.Join(p.folder, name)
		packed, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read an object: %w", err)
		}
		if there, broken := unpacker.DecodeAll(packed, nil); err != nil || broken != nil || !bytes.Equal(there, r.objects[name]) {
			changes = append(changes, difference{file, packer.EncodeAll(r.objects[name], nil)})
		}
	}
	files, err := filepath.Glob(filepath.Join(p.folder, "objects", "*"))
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	for _, f := range files {
		name := "objects/" + filepath.Base(f)
		if _, ok := r.objects[name]; !ok && name != source.ManifestFile {
			changes = append(changes, difference{f, nil})
		}
	}

	manifest, err := encode(r.manifest)
	if err != nil {
		return nil, err
	}
	page, err := os.ReadFile(p.page)
	if err != nil {
		return nil, fmt.Errorf("read the page (-page): %w", err)
	}
	written, err := withTable(page, table(r.manifest))
	if err != nil {
		return nil, fmt.Errorf("%s (-page): %w", p.page, err)
	}
	for _, d := range []difference{{filepath.Join(p.folder, source.ManifestFile), manifest}, {p.page, written}} {
		there, err := os.ReadFile(d.file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read a generated file: %w", err)
		}
		if !bytes.Equal(there, d.want) {
			changes = append(changes, d)
		}
	}
	return changes, nil
}

// apply makes a change on disk.
func (d difference) apply() error {
	if d.want == nil {
		return os.Remove(d.file)
	}
	if err := os.MkdirAll(filepath.Dir(d.file), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(d.file, d.want, 0o644)
}
