package hf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"ressa/kernels"
	"ressa/trainer/checkpoint/safetensors"
)

// openMasks opens the masks, if there are any, and holds each against its weight.
func (f *Folder) openMasks() error {
	file, err := f.openFile(masksFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, key := range file.Names() {
		mask, err := file.Tensor(key)
		if err != nil {
			return err
		}
		weight, err := f.Tensor(key)
		if err != nil {
			return fmt.Errorf("%s: mask of a weight that is not there: %w", file.Path(), err)
		}
		if mask.DType != safetensors.Bool || !slices.Equal(mask.Shape, weight.Shape) {
			return fmt.Errorf("%s: mask %q: found %v %v, expected BOOL %v, the weight's shape", file.Path(), key, mask.DType, mask.Shape, weight.Shape)
		}
		name := f.canonical(key)
		if other, twice := f.masks[name]; twice {
			return fmt.Errorf("%s: masks %q and %q are of the same weight", file.Path(), other.key, key)
		}
		f.masks[name] = stored{file, key}
	}
	return nil
}

// MaskNames returns the names of the masked weights, sorted; none for a folder
// without masks.
func (f *Folder) MaskNames() []string { return slices.Sorted(maps.Keys(f.masks)) }

// Mask returns the mask of a weight as rows of bits, seen over the weight's last
// dimension: bit c%64 of word c/64 of a row is column c, 1 = kept, the rest 0. The
// words of row r begin at r·kernels.MaskWords(cols). The error is
// safetensors.ErrNoTensor for a weight without mask.
func (f *Folder) Mask(name string) (words []uint64, rows, cols int, err error) {
	s, ok := f.masks[f.canonical(name)]
	if !ok {
		return nil, 0, 0, fmt.Errorf("%s: mask of %q: %w", f.dir, name, safetensors.ErrNoTensor)
	}
	t, err := s.file.Tensor(s.key)
	if err != nil {
		return nil, 0, 0, err
	}
	rows, cols = matrix(t.Shape)
	if words, err = packMask(t.Data, rows, cols); err != nil {
		return nil, 0, 0, fmt.Errorf("%s: mask %q: %w", s.file.Path(), s.key, err)
	}
	return words, rows, cols, nil
}

// MaskEntry returns the entry that writes the mask of a weight, given as rows of
// bits in the layout of [Folder.Mask].
func MaskEntry(name string, shape []int, words []uint64) (safetensors.Entry, error) {
	rows, cols := matrix(shape)
	if want := rows * kernels.MaskWords(cols); len(words) != want {
		return safetensors.Entry{}, fmt.Errorf("mask of %q: found %d words, expected %d for shape %v", name, len(words), want, shape)
	}
	return safetensors.Entry{Name: name, DType: safetensors.Bool, Shape: shape, Write: func(w io.Writer) error {
		line := make([]byte, cols)
		for r := range rows {
			row := words[r*kernels.MaskWords(cols):]
			for c := range line {
				line[c] = byte(row[c/64] >> (c % 64) & 1)
			}
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// packMask turns one byte a weight into bits.
func packMask(bools []byte, rows, cols int) ([]uint64, error) {
	width := kernels.MaskWords(cols)
	words := make([]uint64, rows*width)
	for i, b := range bools {
		if b > 1 {
			return nil, fmt.Errorf("element %d: found byte %d, expected 0 or 1", i, b)
		}
		words[i/cols*width+i%cols/64] |= uint64(b) << (i % cols % 64)
	}
	return words, nil
}

// matrix sees a shape as rows over its last dimension.
func matrix(shape []int) (rows, cols int) {
	rows, cols = 1, 1
	for i, d := range shape {
		if i == len(shape)-1 {
			cols = d
		} else {
			rows *= d
		}
	}
	return rows, cols
}
