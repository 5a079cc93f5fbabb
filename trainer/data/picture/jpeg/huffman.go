package jpeg

import "fmt"

// lookup is the number of bits that one look into a table decodes.
const lookup = 9

// huffman is a code (T.81, annex C).
type huffman struct {
	short   [1 << lookup]uint16 // value·256 + length of codes up to lookup bits, 0 elsewhere
	limit   [17]int32           // by length: first code that is longer, or 0
	offset  [17]int32           // by length: index of a code's value less the code
	symbols [256]uint8
}

// huffmanTables reads code tables (T.81, B.2.4.2).
func (d *decoder) huffmanTables(s []byte) error {
	for len(s) > 0 {
		if len(s) < 17 {
			return fmt.Errorf("JPEG Huffman table of %d bytes, want at least 17", len(s))
		}
		class, id := s[0]>>4, s[0]&15
		if class > 1 || id > 3 {
			return fmt.Errorf("JPEG Huffman table %d of class %d, want at most table 3 and class 1", id, class)
		}
		total := 0
		for _, n := range s[1:17] {
			total += int(n)
		}
		if total > 256 || len(s) < 17+total {
			return fmt.Errorf("JPEG Huffman table %d has %d codes in %d bytes", id, total, len(s)-17)
		}
		h, err := newHuffman(s[1:17], s[17:17+total], class == 0)
		if err != nil {
			return fmt.Errorf("JPEG Huffman table %d: %w", id, err)
		}
		d.huffman[class][id] = h
		s = s[17+total:]
	}
	return nil
}

func newHuffman(counts, symbols []byte, dc bool) (*huffman, error) {
	h := &huffman{}
	code, k := int32(0), int32(0)
	for i, count := range counts {
		length := i + 1
		h.offset[length] = k - code
		for range count {
			v := symbols[k]
			if code >= 1<<length {
				return nil, fmt.Errorf("codes of %d bits do not fit", length)
			}
			if dc && v > 15 {
				return nil, fmt.Errorf("difference of %d bits, want at most 15", v)
			}
			h.symbols[k] = v
			if length <= lookup {
				first := code << (lookup - length)
				for j := range int32(1) << (lookup - length) {
					h.short[first+j] = uint16(v)<<8 | uint16(length)
				}
			}
			code++
			k++
		}
		if count > 0 {
			h.limit[length] = code
		}
		code <<= 1
	}
	return h, nil
}

// bits reads a scan's entropy-coded bits. Beyond the next marker it gives zeros and
// counts them: failed tells whether any of them was used.
type bits struct {
	data   []byte
	at     int // of the next byte; stays at a marker
	buffer uint64
	n      int  // bits in the buffer
	zeros  int  // of them, at the low end: not in the file
	bad    bool // an invalid code or a run past a block's end was read
}

func (b *bits) fill() {
	for b.n <= 56 {
		var v uint8
		if b.at < len(b.data) && b.data[b.at] != 0xff {
			v = b.data[b.at]
			b.at++
		} else if after := b.stuffed(); after > 0 {
			v = 0xff
			b.at = after
		} else {
			b.zeros += 8
		}
		b.buffer = b.buffer<<8 | uint64(v)
		b.n += 8
	}
}

// stuffed returns the position after 0xff bytes and a zero, which stand for one
// byte 0xff, or 0 where there is a marker or the end.
func (b *bits) stuffed() int {
	i := b.at
	for i < len(b.data) && b.data[i] == 0xff {
		i++
	}
	if i == b.at || i == len(b.data) || b.data[i] != 0 {
		return 0
	}
	return i + 1
}

func (b *bits) failed() bool { return b.bad || b.n < b.zeros }

// restart forgets the bits up to the next marker.
func (b *bits) restart() { b.buffer, b.n, b.zeros = 0, 0, 0 }

// symbol decodes one value of h.
func (b *bits) symbol(h *huffman) int {
	if b.n < 16 {
		b.fill()
	}
	if v := h.short[b.buffer>>(b.n-lookup)&(1<<lookup-1)]; v != 0 {
		b.n -= int(v & 255)
		return int(v >> 8)
	}
	for length := lookup + 1; length <= 16; length++ {
		code := int32(b.buffer >> (b.n - length) & (1<<length - 1))
		if code < h.limit[length] {
			b.n -= length
			return int(h.symbols[code+h.offset[length]])
		}
	}
	b.bad = true
	return 0
}

// take returns the next n ≤ 16 bits.
func (b *bits) take(n int) int32 {
	if b.n < n {
		b.fill()
	}
	b.n -= n
	return int32(b.buffer >> b.n & (1<<n - 1))
}

// signed returns a value of n bits, negative ones starting with 0 (T.81, F.12).
func (b *bits) signed(n int) int32 {
	v := b.take(n)
	if n > 0 && v < 1<<(n-1) {
		v -= 1<<n - 1
	}
	return v
}
