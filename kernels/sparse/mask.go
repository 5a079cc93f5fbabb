package sparse

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"ressa/kernels"
)

// Mask says which weights of a (Rows, Cols) matrix are kept. Word i of row r is
// Words[r*WordsPerRow()+i]; bits beyond Cols are zero.
type Mask struct {
	Rows, Cols int
	Words      []uint64
}

// New returns a mask that keeps nothing. It panics on negative sizes.
func New(rows, cols int) Mask {
	if rows < 0 || cols < 0 {
		panic(fmt.Sprintf("sparse: mask of (%d, %d)", rows, cols))
	}
	return Mask{Rows: rows, Cols: cols, Words: make([]uint64, rows*kernels.MaskWords(cols))}
}

// NewOnes returns a mask that keeps everything.
func NewOnes(rows, cols int) Mask {
	m := New(rows, cols)
	for r := range rows {
		row := m.Row(r)
		for i := range row {
			row[i] = ^uint64(0)
		}
		if tail := cols % 64; tail != 0 {
			row[len(row)-1] = 1<<tail - 1
		}
	}
	return m
}

// FromBools returns the mask of a row-major matrix of bytes, 1 = kept and 0 =
// dropped, as safetensors stores BOOL. Any other byte is an error.
func FromBools(rows, cols int, bools []byte) (Mask, error) {
	if rows < 0 || cols < 0 || cols > 0 && rows > len(bools)/cols || len(bools) != rows*cols {
		return Mask{}, fmt.Errorf("mask of (%d, %d) from %d bytes, want one byte an element", rows, cols, len(bools))
	}
	m := New(rows, cols)
	for r := range rows {
		row := m.Row(r)
		for c, b := range bools[r*cols : (r+1)*cols] {
			if b > 1 {
				return Mask{}, fmt.Errorf("mask element (%d, %d) is %d, want 0 or 1", r, c, b)
			}
			row[c/64] |= uint64(b) << (c % 64)
		}
	}
	return m, nil
}

// ToBools is the inverse of [FromBools].
func (m Mask) ToBools() []byte {
	bools := make([]byte, 0, m.Rows*m.Cols)
	for r := range m.Rows {
		row := m.Row(r)
		for c := range m.Cols {
			bools = append(bools, byte(row[c/64]>>(c%64)&1))
		}
	}
	return bools
}

// Validate returns an error when the words do not fit the shape or a bit beyond
// Cols is set.
func (m Mask) Validate() error {
	per := m.WordsPerRow()
	if m.Rows < 0 || m.Cols < 0 || len(m.Words) != m.Rows*per {
		return fmt.Errorf("mask of (%d, %d) has %d words, want %d a row", m.Rows, m.Cols, len(m.Words), per)
	}
	if tail := m.Cols % 64; tail != 0 {
		for r := range m.Rows {
			if last := m.Words[r*per+per-1]; last>>tail != 0 {
				return fmt.Errorf("mask row %d has bits set beyond column %d", r, m.Cols-1)
			}
		}
	}
	return nil
}

// IsZero reports whether m is the zero Mask, which stands for "no mask".
func (m Mask) IsZero() bool { return m.Words == nil && m.Rows == 0 && m.Cols == 0 }

// WordsPerRow returns the words of one row.
func (m Mask) WordsPerRow() int { return kernels.MaskWords(m.Cols) }

// Row returns the words of row r, in place.
func (m Mask) Row(r int) []uint64 {
	n := m.WordsPerRow()
	return m.Words[r*n : (r+1)*n : (r+1)*n]
}

// Get reports whether element (r, c) is kept. It panics outside the matrix.
func (m Mask) Get(r, c int) bool {
	m.bound(r, c)
	return m.Words[r*m.WordsPerRow()+c/64]>>(c%64)&1 != 0
}

// Set keeps or drops element (r, c). It panics outside the matrix.
func (m Mask) Set(r, c int, keep bool) {
	m.bound(r, c)
	w, b := &m.Words[r*m.WordsPerRow()+c/64], uint64(1)<<(c%64)
	if keep {
		*w |= b
	} else {
		*w &^= b
	}
}

// bound keeps the padding of a row from being written by mistake.
func (m Mask) bound(r, c int) {
	if uint(r) >= uint(m.Rows) || uint(c) >= uint(m.Cols) {
		panic(fmt.Sprintf("sparse: element (%d, %d) of a mask of (%d, %d)", r, c, m.Rows, m.Cols))
	}
}

// Count returns the number of elements kept.
func (m Mask) Count() int {
	n := 0
	for _, w := range m.Words {
		n += bits.OnesCount64(w)
	}
	return n
}

// CountRow returns the number of elements kept in row r.
func (m Mask) CountRow(r int) int {
	n := 0
	for _, w := range m.Row(r) {
		n += bits.OnesCount64(w)
	}
	return n
}

// TwoOfFour reports whether at most two of each four consecutive columns of a row are
// kept, from column 0 on.
func (m Mask) TwoOfFour() bool {
	const evens, pairs, lowest = 0x5555555555555555, 0x3333333333333333, 0x1111111111111111
	for _, w := range m.Words {
		n := w&evens + w>>1&evens
		n = n&pairs + n>>2&pairs // of each four, 0 to 4
		if n>>2&lowest != 0 || n>>1&n&lowest != 0 {
			return false
		}
	}
	return true
}

// Density returns the share of elements kept, 0 to 1; 1 for an empty matrix.
func (m Mask) Density() float64 {
	if m.Rows == 0 || m.Cols == 0 {
		return 1
	}
	return float64(m.Count()) / float64(m.Rows*m.Cols)
}

// Clone returns a copy that shares nothing with m.
func (m Mask) Clone() Mask {
	m.Words = slices.Clone(m.Words)
	return m
}

// Equal reports whether both masks have the same shape and bits.
func (m Mask) Equal(o Mask) bool {
	return m.Rows == o.Rows && m.Cols == o.Cols && slices.Equal(m.Words, o.Words)
}

// Bytes returns the words little-endian, as [kernels.Transfers.Upload] takes them.
func (m Mask) Bytes() []byte {
	b := make([]byte, 0, 8*len(m.Words))
	for _, w := range m.Words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// Upload allocates a U64 tensor (Rows, WordsPerRow) on d and enqueues the copy of
// m into it on s. The caller frees the tensor's buffer.
func (m Mask) Upload(d kernels.Device, s kernels.Stream) (kernels.Tensor, error) {
	if err := m.Validate(); err != nil {
		return kernels.Tensor{}, err
	}
	src := m.Bytes()
	b, err := d.Alloc(len(src))
	if err != nil {
		return kernels.Tensor{}, fmt.Errorf("mask of (%d, %d): %w", m.Rows, m.Cols, err)
	}
	t := kernels.NewTensor(b, kernels.U64, m.Rows, m.WordsPerRow())
	s.Upload(t, src)
	return t, nil
}
