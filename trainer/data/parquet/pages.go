package parquet

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/schema"
)

// checkedPages hands pages on only after their levels and dictionary indices were
// found complete: Arrow's column reader repeats itself for ever on a page that
// holds fewer of them than its header says, and allocates whatever a dictionary's
// header asks for.
type checkedPages struct {
	file.PageReader
	column     *schema.Column
	dictionary uint64 // entries
	err        error
}

// Next fetches and checks the next page.
func (p *checkedPages) Next() bool {
	if p.err != nil || !p.PageReader.Next() {
		return false
	}
	p.err = p.check(p.Page())
	return p.err == nil
}

// Err returns what was found wrong.
func (p *checkedPages) Err() error {
	if p.err != nil {
		return p.err
	}
	return p.PageReader.Err()
}

func (p *checkedPages) check(page file.Page) error {
	raw, n := page.Data(), int(page.NumValues())
	var repetition, definition []byte
	var err error
	switch page := page.(type) {
	case *file.DictionaryPage:
		if n > len(raw)/4 { // every entry takes four bytes at least
			return fmt.Errorf("dictionary of %d entries in %d bytes", n, len(raw))
		}
		p.dictionary = uint64(n)
		return nil
	case *file.DataPageV1:
		if p.column.MaxRepetitionLevel() > 0 {
			if repetition, raw, err = cutLevels(raw, page.RepetitionLevelEncoding()); err != nil {
				return err
			}
		}
		if p.column.MaxDefinitionLevel() > 0 {
			if definition, raw, err = cutLevels(raw, page.DefinitionLevelEncoding()); err != nil {
				return err
			}
		}
	case *file.DataPageV2:
		r, d := int(page.RepetitionLevelByteLen()), int(page.DefinitionLevelByteLen())
		if r < 0 || d < 0 || r > len(raw) || d > len(raw)-r {
			return fmt.Errorf("levels of %d and %d bytes in a page of %d", r, d, len(raw))
		}
		repetition, definition, raw = raw[:r], raw[r:r+d], raw[r+d:]
	default:
		return nil
	}
	return p.checkData(page, repetition, definition, raw, n)
}

// checkData checks the three parts of a data page of n values.
func (p *checkedPages) checkData(page file.Page, repetition, definition, raw []byte, n int) error {
	present := n
	if most := p.column.MaxRepetitionLevel(); most > 0 {
		if err := runs(repetition, width(most), n, func(v uint64, _ int) bool { return v <= uint64(most) }); err != nil {
			return fmt.Errorf("repetition levels: %w", err)
		}
	}
	if most := p.column.MaxDefinitionLevel(); most > 0 {
		present = 0
		if err := runs(definition, width(most), n, func(v uint64, count int) bool {
			if v == uint64(most) {
				present += count
			}
			return v <= uint64(most)
		}); err != nil {
			return fmt.Errorf("definition levels: %w", err)
		}
	}
	switch e := parquet.Encoding(page.Encoding()); e {
	case parquet.Encodings.Plain:
		return nil
	case parquet.Encodings.PlainDict, parquet.Encodings.RLEDict:
		if present == 0 {
			return nil
		}
		if len(raw) == 0 || raw[0] > 32 {
			return fmt.Errorf("dictionary indices: no bit width of at most 32")
		}
		if err := runs(raw[1:], int(raw[0]), present, func(v uint64, _ int) bool { return v < p.dictionary }); err != nil {
			return fmt.Errorf("dictionary indices: %w", err)
		}
		return nil
	default:
		return fmt.Errorf("encoding %v is not supported, want plain or dictionary", e)
	}
}

func width(most int16) int { return bits.Len16(uint16(most)) }

// cutLevels cuts off levels that stand behind their length.
func cutLevels(raw []byte, e parquet.Encoding) (levels, rest []byte, err error) {
	if e != parquet.Encodings.RLE {
		return nil, nil, fmt.Errorf("levels are encoded as %v, want RLE", e)
	}
	if len(raw) < 4 {
		return nil, nil, fmt.Errorf("levels: page of %d bytes", len(raw))
	}
	n := binary.LittleEndian.Uint32(raw)
	if uint64(n) > uint64(len(raw)-4) {
		return nil, nil, fmt.Errorf("levels of %d bytes in a page of %d", n, len(raw))
	}
	return raw[4 : 4+n], raw[4+n:], nil
}

// runs walks n values in Parquet's hybrid of run-length and bit-packed encoding
// and reports an error where they end early or where valid says no. valid may be
// called once for a run of equal values.
func runs(raw []byte, width, n int, valid func(v uint64, count int) bool) error {
	for n > 0 {
		header, used := binary.Uvarint(raw)
		if used <= 0 {
			return fmt.Errorf("end %d values early", n)
		}
		raw = raw[used:]
		if header&1 == 0 { // a run
			size := (width + 7) / 8
			count := int(min(header>>1, uint64(n)))
			if count == 0 || len(raw) < size {
				return fmt.Errorf("end %d values early", n)
			}
			var v uint64
			for i := range size {
				v |= uint64(raw[i]) << (8 * i)
			}
			if !valid(v, count) {
				return fmt.Errorf("%d is out of range", v)
			}
			raw, n = raw[size:], n-count
			continue
		}
		groups := header >> 1 // of eight values, width bytes each
		count := int(min(groups, uint64(n/8+1))) * 8
		if groups == 0 || len(raw)*8 < min(count, n)*width {
			return fmt.Errorf("end %d values early", n)
		}
		for i := range min(count, n) {
			var v uint64
			for b := range width {
				at := i*width + b
				v |= uint64(raw[at/8]>>(at%8)&1) << b
			}
			if !valid(v, 1) {
				return fmt.Errorf("%d is out of range", v)
			}
		}
		raw, n = raw[min(len(raw), count/8*width):], n-min(count, n)
	}
	return nil
}

// bounded refuses to allocate more than a row group may take. The Parquet reader
// cannot return that as an error, so it panics; [readGroup] recovers.
type bounded struct{ memory.Allocator }

// Allocate returns size bytes.
func (b bounded) Allocate(size int) []byte {
	if size > maxGroupBytes {
		panic(fmt.Sprintf("page of %d bytes", size))
	}
	return b.Allocator.Allocate(size)
}

// Reallocate changes the size of an allocation.
func (b bounded) Reallocate(size int, old []byte) []byte {
	if size > maxGroupBytes {
		panic(fmt.Sprintf("page of %d bytes", size))
	}
	return b.Allocator.Reallocate(size, old)
}
