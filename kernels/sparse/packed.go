package sparse

import (
	"encoding/binary"
	"fmt"

	"ressa/kernels"
)

// packedTile is the side of a tile of [kernels.PackedWeight].
const packedTile = 64

// Packed is a frozen weight without its zeros, as [kernels.PackedWeight] lays it
// out, in host memory. It takes Kept·DType.Size() bytes, a bit for each weight in
// Mask, and 4 bytes for each tile.
type Packed struct {
	Mask    Mask
	DType   kernels.DType // F32 or BF16
	Values  []byte        // little-endian
	Offsets []int32       // (⌈Rows/64⌉, ⌈Cols/64⌉) elements of Values, row-major
}

// Pack returns the values that m keeps of w, a row-major matrix of m's shape,
// little-endian. What m drops is lost, whatever it is. It fails on another length
// or dtype, and on more than 2³¹−1 kept values.
func Pack(m Mask, d kernels.DType, w []byte) (Packed, error) {
	if d != kernels.F32 && d != kernels.BF16 {
		return Packed{}, fmt.Errorf("pack: found %v, want fp32 or bf16", d)
	}
	if err := m.Validate(); err != nil {
		return Packed{}, fmt.Errorf("pack: %w", err)
	}
	size := d.Size()
	if len(w) != m.Rows*m.Cols*size {
		return Packed{}, fmt.Errorf("pack: %d bytes for %v (%d, %d)", len(w), d, m.Rows, m.Cols)
	}
	kept := m.Count()
	if kept > 1<<31-1 {
		return Packed{}, fmt.Errorf("pack: %d values are kept, want at most %d", kept, 1<<31-1)
	}
	p := Packed{Mask: m, DType: d, Values: make([]byte, 0, kept*size)}
	m.tiles(func() { p.Offsets = append(p.Offsets, int32(len(p.Values)/size)) }, func(r, c int) {
		at := (r*m.Cols + c) * size
		p.Values = append(p.Values, w[at:at+size]...)
	})
	return p, nil
}

// Unpack returns the matrix that was packed, with +0 at what was dropped.
func (p Packed) Unpack() []byte {
	size, n := p.DType.Size(), 0
	w := make([]byte, p.Mask.Rows*p.Mask.Cols*size)
	p.Mask.tiles(func() {}, func(r, c int) {
		copy(w[(r*p.Mask.Cols+c)*size:], p.Values[n:n+size])
		n += size
	})
	return w
}

// tiles calls start before each tile, and kept for each kept element in it.
func (m Mask) tiles(start func(), kept func(r, c int)) {
	for lo := 0; lo < m.Rows; lo += packedTile {
		for word := range m.WordsPerRow() {
			start()
			for r := lo; r < min(m.Rows, lo+packedTile); r++ {
				for bits, c := m.Row(r)[word], 64*word; bits != 0; bits, c = bits>>1, c+1 {
					if bits&1 != 0 {
						kept(r, c)
					}
				}
			}
		}
	}
}

// Kept returns the number of values.
func (p Packed) Kept() int { return len(p.Values) / p.DType.Size() }

// Upload allocates the weight on d and enqueues the copies into it on s. The mask
// is uploaded apart, see [Mask.Upload]. The caller frees both buffers.
func (p Packed) Upload(d kernels.Device, s kernels.Stream) (kernels.PackedWeight, error) {
	offsets := make([]byte, 0, 4*len(p.Offsets))
	for _, o := range p.Offsets {
		offsets = binary.LittleEndian.AppendUint32(offsets, uint32(o))
	}
	w := kernels.PackedWeight{Out: p.Mask.Rows, In: p.Mask.Cols}
	values, err := d.Alloc(len(p.Values))
	if err != nil {
		return w, fmt.Errorf("packed weight (%d, %d): %w", w.Out, w.In, err)
	}
	starts, err := d.Alloc(len(offsets))
	if err != nil {
		d.Free(values)
		return w, fmt.Errorf("packed weight (%d, %d): %w", w.Out, w.In, err)
	}
	w.Values = kernels.NewTensor(values, p.DType, 1, p.Kept())
	w.Offsets = kernels.NewTensor(starts, kernels.I32, kernels.MaskWords(w.Out), kernels.MaskWords(w.In))
	s.Upload(w.Values, p.Values)
	s.Upload(w.Offsets, offsets)
	return w, nil
}
