package parquet

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
)

// Limits on what is held of a row group.
const (
	maxGroupRows  = 1 << 20
	maxGroupBytes = 512 << 20
	batch         = 256 // values read at once
)

// cell is a value or null; a list column has several in a row.
type cell struct {
	value []byte
	null  bool
}

// group holds the rows of a row group: by leaf, by row.
type group struct {
	rows  int
	cells map[*leaf][][]cell
	bytes int
}

// readGroup reads the leaves of a row group. It converts panics of the Parquet
// reader, which it has for damaged files, to errors.
func readGroup(r *file.Reader, index int, l layout) (g group, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged: %v", p)
		}
	}()
	meta := r.MetaData().RowGroup(index)
	rows := meta.NumRows()
	if rows < 0 || rows > maxGroupRows {
		return g, fmt.Errorf("%d rows, want at most %d in a row group", rows, maxGroupRows)
	}
	g = group{rows: int(rows), cells: map[*leaf][][]cell{}}
	for _, leaf := range l.leaves() {
		chunk, err := meta.ColumnChunk(leaf.index)
		if err != nil {
			return g, fmt.Errorf("column %q: %w", leaf.name, err)
		}
		if n := chunk.TotalUncompressedSize(); n < 0 || n > maxGroupBytes {
			return g, fmt.Errorf("column %q: %d bytes in one row group, want at most %d: write the file with smaller row groups", leaf.name, n, maxGroupBytes)
		}
		if g.cells[leaf], err = readLeaf(r, index, leaf, g.rows, &g.bytes); err != nil {
			return g, fmt.Errorf("column %q: %w", leaf.name, err)
		}
	}
	return g, nil
}

// values reads batches of one column chunk, whatever its type, as bytes.
type values struct {
	next  func(definition, repetition []int16) (levels, n int, err error)
	value func(i int) []byte
}

func newValues(c file.ColumnChunkReader) (values, error) {
	var v values
	switch c := c.(type) {
	case *file.ByteArrayColumnChunkReader:
		buffer := make([]parquet.ByteArray, batch)
		v.next = func(d, r []int16) (int, int, error) {
			total, n, err := c.ReadBatch(batch, buffer, d, r)
			return int(total), n, err
		}
		// The buffer points into the page, which the next one overwrites.
		v.value = func(i int) []byte { return bytes.Clone(buffer[i]) }
	case *file.Int64ColumnChunkReader:
		buffer := make([]int64, batch)
		v.next = func(d, r []int16) (int, int, error) {
			total, n, err := c.ReadBatch(batch, buffer, d, r)
			return int(total), n, err
		}
		v.value = func(i int) []byte { return strconv.AppendInt(nil, buffer[i], 10) }
	case *file.Int32ColumnChunkReader:
		buffer := make([]int32, batch)
		v.next = func(d, r []int16) (int, int, error) {
			total, n, err := c.ReadBatch(batch, buffer, d, r)
			return int(total), n, err
		}
		v.value = func(i int) []byte { return strconv.AppendInt(nil, int64(buffer[i]), 10) }
	default:
		return v, fmt.Errorf("type %v is not supported", c.Type())
	}
	return v, nil
}

// readLeaf assembles the rows of a column from its definition and repetition
// levels (Melnik et al., "Dremel", VLDB 2010, section 4).
func readLeaf(r *file.Reader, index int, l *leaf, rows int, total *int) ([][]cell, error) {
	pages, err := r.RowGroup(index).GetColumnPageReader(l.index)
	if err != nil {
		return nil, err
	}
	column := r.MetaData().Schema.Column(l.index)
	chunk := file.NewColumnReader(column, &checkedPages{PageReader: pages, column: column}, bounded{memory.DefaultAllocator}, r.BufferPool())
	v, err := newValues(chunk)
	if err != nil {
		return nil, err
	}
	definition, repetition := make([]int16, batch), make([]int16, batch)
	var out [][]cell
	for chunk.HasNext() {
		levels, n, err := v.next(definition, repetition)
		if err != nil {
			return nil, err
		}
		if levels == 0 {
			return nil, fmt.Errorf("ends early")
		}
		at := 0
		for i := range levels {
			d := l.defined // of a column without nulls, levels are not written
			if l.defined > 0 {
				d = definition[i]
			}
			if !l.list || repetition[i] == 0 {
				if len(out) == rows {
					return nil, fmt.Errorf("more than the %d rows of the row group", rows)
				}
				out = append(out, nil)
			}
			if len(out) == 0 {
				return nil, fmt.Errorf("starts in the middle of a row")
			}
			if l.list && d < l.repeated {
				continue // an empty list
			}
			c := cell{null: d < l.defined}
			if !c.null {
				if at >= n {
					return nil, fmt.Errorf("has fewer values than its levels say")
				}
				c.value = v.value(at)
				at++
			}
			if *total += len(c.value) + 32; *total > maxGroupBytes {
				return nil, fmt.Errorf("row group of more than %d bytes: write the file with smaller row groups", maxGroupBytes)
			}
			row := len(out) - 1
			out[row] = append(out[row], c)
		}
	}
	if err := chunk.Err(); err != nil {
		return nil, err
	}
	if len(out) != rows {
		return nil, fmt.Errorf("%d rows, want %d", len(out), rows)
	}
	return out, nil
}

// checkSizes verifies that the column chunks lie inside the file, before anything
// is allocated for them.
func checkSizes(r *file.Reader, l layout, size int64) (rows int64, err error) {
	for i := range r.NumRowGroups() {
		meta := r.MetaData().RowGroup(i)
		n := meta.NumRows()
		if n < 0 || n > math.MaxInt32 || rows+n > math.MaxInt32 {
			return 0, fmt.Errorf("row group %d: %d rows", i, n)
		}
		rows += n
		for _, leaf := range l.leaves() {
			c, err := meta.ColumnChunk(leaf.index)
			if err != nil {
				return 0, fmt.Errorf("row group %d, column %q: %w", i, leaf.name, err)
			}
			start := c.DataPageOffset()
			if c.HasDictionaryPage() && c.DictionaryPageOffset() > 0 {
				start = min(start, c.DictionaryPageOffset())
			}
			if n := c.TotalCompressedSize(); start < 0 || n < 0 || start > size || n > size-start {
				return 0, fmt.Errorf("row group %d, column %q: %d bytes at %d of a file of %d", i, leaf.name, n, start, size)
			}
		}
	}
	return rows, nil
}
