package jpeg

import (
	"errors"
	"fmt"
)

// natural maps the zigzag order to the row by row order.
var natural = [64]uint8{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
}

// part is a component's share of a scan.
type part struct {
	*component
	dc, ac   *huffman
	previous int32 // DC of the block before
}

// scan is the state of one scan.
type scan struct {
	bits
	parts       []part
	first, last int // coefficients, in zigzag order
	refine      bool
	low         int   // bit of the coefficients that the scan gives
	blank       int32 // blocks that follow without coefficients
	block       [64]int16
}

// scan reads a scan's header (T.81, B.2.3) and its data.
func (d *decoder) scan(header []byte) error {
	if d.components == nil {
		return errors.New("JPEG has a scan before its frame header")
	}
	if d.scans++; d.scans > maxScans {
		return fmt.Errorf("JPEG has more than %d scans", maxScans)
	}
	s := &scan{bits: bits{data: d.data, at: d.at}}
	if err := d.scanHeader(s, header); err != nil {
		return fmt.Errorf("JPEG scan %d: %w", d.scans, err)
	}
	if err := d.reserve(); err != nil {
		return err
	}
	across, down := d.mcus.across, d.mcus.down
	alone := len(s.parts) == 1 // then an MCU is a block
	if alone {
		across, down = ceil(s.parts[0].width, 8), ceil(s.parts[0].height, 8)
	}
	for i := range across * down {
		if d.interval > 0 && i > 0 && i%d.interval == 0 {
			if err := s.next(uint8(rst0 + (i/d.interval-1)%8)); err != nil {
				return fmt.Errorf("JPEG scan %d: %w", d.scans, err)
			}
		}
		x, y := i%across, i/across
		if alone {
			d.decode(s, &s.parts[0], x, y)
		} else {
			for p := range s.parts {
				c := &s.parts[p]
				for b := range c.h * c.v {
					d.decode(s, c, x*c.h+b%c.h, y*c.v+b/c.h)
				}
			}
		}
		if s.failed() {
			if !s.bad && s.at >= len(s.data) {
				return errTruncated
			}
			return fmt.Errorf("JPEG scan %d: corrupt data at byte %d", d.scans, s.at)
		}
	}
	d.at = s.at
	return nil
}

func (d *decoder) scanHeader(s *scan, header []byte) error {
	if len(header) < 1 || header[0] < 1 || int(header[0]) > len(d.components) || len(header) != 4+2*int(header[0]) {
		return fmt.Errorf("header of %d bytes", len(header))
	}
	n := int(header[0])
	s.parts = make([]part, n)
	end := header[1+2*n:]
	s.first, s.last, s.refine, s.low = int(end[0]), int(end[1]), end[2]>>4 > 0, int(end[2]&15)
	if d.progressive {
		switch {
		case s.first == 0 && s.last != 0, s.first > s.last, s.last > 63, s.first > 0 && n > 1:
			return fmt.Errorf("coefficients %d to %d of %d components", s.first, s.last, n)
		case s.low > 13, s.refine && int(end[2]>>4) != s.low+1:
			return fmt.Errorf("bits %d after %d", s.low, end[2]>>4)
		}
	} else {
		s.first, s.last, s.refine, s.low = 0, 63, false, 0 // as libjpeg takes them
	}
	blocks := 0
	for i := range s.parts {
		p := &s.parts[i]
		id, tables := header[1+2*i], header[2+2*i]
		for j := range d.components {
			if d.components[j].id == id {
				p.component = &d.components[j]
			}
		}
		if p.component == nil {
			return fmt.Errorf("component %d is not in the frame", id)
		}
		for j := range i {
			if s.parts[j].component == p.component {
				return fmt.Errorf("component %d twice", id)
			}
		}
		if tables>>4 > 3 || tables&15 > 3 {
			return fmt.Errorf("tables %d and %d of Huffman codes, want at most 3", tables>>4, tables&15)
		}
		p.dc, p.ac = d.huffman[0][tables>>4], d.huffman[1][tables&15]
		if p.dc == nil && s.first == 0 && !s.refine || p.ac == nil && s.last > 0 {
			return fmt.Errorf("component %d: its Huffman table is missing", id)
		}
		if p.quant == nil { // kept from a component's first scan on
			if p.quant = d.quant[p.table]; p.quant == nil {
				return fmt.Errorf("component %d: quantisation table %d is missing", id, p.table)
			}
		}
		for k := s.first; k <= s.last; k++ {
			p.bit[k] = 1 + s.low
		}
		blocks += p.h * p.v
	}
	if n > 1 && blocks > 10 {
		return fmt.Errorf("%d blocks in an MCU, want at most 10", blocks)
	}
	return nil
}

// reserve allocates what the scans fill, at the first one. A block takes at least
// one bit, so that a short file cannot ask for much.
func (d *decoder) reserve() error {
	if d.scans > 1 {
		return nil
	}
	blocks := 0
	for i := range d.components {
		blocks += d.components[i].columns * d.components[i].rows
	}
	if blocks/8 > len(d.data) {
		return fmt.Errorf("%w: %d×%d pixels in %d bytes", errTruncated, d.width, d.height, len(d.data))
	}
	for i := range d.components {
		c := &d.components[i]
		if d.progressive {
			c.coefficients = make([]int16, 64*c.columns*c.rows)
		} else {
			c.plane = make([]uint8, 64*c.columns*c.rows)
		}
	}
	return nil
}

// next moves to the restart marker that is due.
func (s *scan) next(want uint8) error {
	d := decoder{data: s.data, at: s.at}
	m, err := d.marker()
	if err != nil {
		return err
	}
	if m != want {
		return fmt.Errorf("marker %#x, want the restart marker %#x", m, want)
	}
	s.at, s.blank = d.at, 0
	s.restart()
	for i := range s.parts {
		s.parts[i].previous = 0
	}
	return nil
}

// decode reads one block of a component.
func (d *decoder) decode(s *scan, p *part, x, y int) {
	at := y*p.columns + x
	if !d.progressive {
		s.sequential(p)
		p.inverse(&s.block, x, y)
		return
	}
	block := (*[64]int16)(p.coefficients[64*at:])
	switch {
	case s.first == 0 && !s.refine:
		p.previous += s.signed(s.symbol(p.dc))
		block[0] = int16(p.previous << s.low)
	case s.first == 0:
		block[0] |= int16(s.take(1) << s.low)
	case !s.refine:
		s.spectrum(p, block)
	default:
		s.correct(p, block)
	}
}

// sequential reads a whole block (T.81, F.2.2).
func (s *scan) sequential(p *part) {
	s.block = [64]int16{}
	p.previous += s.signed(s.symbol(p.dc))
	s.block[0] = int16(p.previous)
	for k := 1; k < 64; k++ {
		v := s.symbol(p.ac)
		run, size := v>>4, v&15
		if size == 0 && run != 15 {
			return
		}
		if k += run; k > 63 {
			s.bad = true
			return
		}
		if size > 0 {
			s.block[natural[k]] = int16(s.signed(size))
		}
	}
}

// spectrum reads coefficients for the first time (T.81, G.1.2.2).
func (s *scan) spectrum(p *part, block *[64]int16) {
	if s.blank > 0 {
		s.blank--
		return
	}
	for k := s.first; k <= s.last; k++ {
		v := s.symbol(p.ac)
		run, size := v>>4, v&15
		if size == 0 && run != 15 {
			s.blank = 1<<run + s.take(run) - 1
			return
		}
		if k += run; k > 63 {
			s.bad = true
			return
		}
		if size > 0 {
			block[natural[k]] = int16(s.signed(size) << s.low)
		}
	}
}

// correct reads one more bit of coefficients (T.81, G.1.2.3): those that are not 0
// take a bit each as they are passed, runs count the others.
func (s *scan) correct(p *part, block *[64]int16) {
	k := s.first
	for s.blank == 0 && k <= s.last {
		v := s.symbol(p.ac)
		run, size := v>>4, v&15
		fresh := int16(0)
		switch {
		case size > 0: // 1, in all valid data
			fresh = -1 << s.low
			if s.take(1) > 0 {
				fresh = 1 << s.low
			}
		case run != 15:
			s.blank = 1<<run + s.take(run)
			continue
		}
		for ; k <= s.last; k++ {
			c := &block[natural[k]]
			if *c != 0 {
				s.push(c)
				continue
			}
			if run == 0 {
				*c = fresh
				k++
				break
			}
			run--
		}
	}
	if s.blank > 0 {
		for ; k <= s.last; k++ {
			if c := &block[natural[k]]; *c != 0 {
				s.push(c)
			}
		}
		s.blank--
	}
}

// push reads the next bit of a coefficient that is not 0 and moves it away from 0.
func (s *scan) push(c *int16) {
	bit := int16(1) << s.low
	if s.take(1) == 0 || *c&bit != 0 {
		return
	}
	if *c < 0 {
		bit = -bit
	}
	*c += bit
}
