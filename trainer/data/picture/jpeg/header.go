package jpeg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxScans bounds the work that a small file can ask for. Encoders write about ten
// scans, or one for each component.
const maxScans = 500

// Markers of ITU-T T.81, table B.1.
const (
	sof0 = 0xc0 // baseline
	sof1 = 0xc1 // extended sequential
	sof2 = 0xc2 // progressive
	dht  = 0xc4
	jpg  = 0xc8
	dac  = 0xcc
	rst0 = 0xd0
	rst7 = 0xd7
	soi  = 0xd8
	eoi  = 0xd9
	sos  = 0xda
	dqt  = 0xdb
	dnl  = 0xdc
	dri  = 0xdd
	app0 = 0xe0
	appE = 0xee
	com  = 0xfe
)

var errTruncated = errors.New("JPEG is truncated")

// component is one channel of a frame.
type component struct {
	id, table     uint8
	h, v          int // sampling factors
	across, down  int // times that a sample repeats to fill the image
	width, height int // in samples, without padding
	columns, rows int // in blocks, padded to whole MCUs
	quant         *[64]uint16
	coefficients  []int16 // progressive: [rows·columns·64], natural order
	bit           [64]int // progressive, zigzag order: 1 + the lowest bit read, 0 for none
	plane         []uint8 // [8·rows × 8·columns]
}

// decoder holds what the markers read so far have set.
type decoder struct {
	data          []byte
	at            int
	maxPixels     int
	width, height int
	progressive   bool
	components    []component
	mcus          struct{ across, down int }
	quant         [4]*[64]uint16
	huffman       [2][4]*huffman // [DC, AC]
	interval      int            // MCUs between restarts, 0 for none
	scans         int
	jfif, adobe   bool
	transform     uint8 // of Adobe's marker
}

// marker moves past the next marker and returns it. Bytes before it are skipped, as
// libjpeg skips them.
func (d *decoder) marker() (uint8, error) {
	for {
		i := bytes.IndexByte(d.data[d.at:], 0xff)
		if i < 0 {
			return 0, errTruncated
		}
		d.at += i
		for d.at < len(d.data) && d.data[d.at] == 0xff {
			d.at++
		}
		if d.at == len(d.data) {
			return 0, errTruncated
		}
		m := d.data[d.at]
		d.at++
		if m != 0 {
			return m, nil
		}
	}
}

// segment moves past a marker's segment and returns its contents.
func (d *decoder) segment() ([]byte, error) {
	rest := d.data[d.at:]
	if len(rest) < 2 {
		return nil, errTruncated
	}
	n := int(binary.BigEndian.Uint16(rest))
	if n < 2 {
		return nil, fmt.Errorf("JPEG segment of %d bytes, want at least 2", n)
	}
	if n > len(rest) {
		return nil, errTruncated
	}
	d.at += n
	return rest[2:n], nil
}

// read handles all segments up to the end of the image.
func (d *decoder) read() error {
	if !bytes.HasPrefix(d.data, []byte{0xff, soi}) {
		return fmt.Errorf("JPEG starts with %.2x, want ffd8", d.data[:min(2, len(d.data))])
	}
	d.at = 2
	for {
		m, err := d.marker()
		if err != nil {
			return err
		}
		if m == eoi {
			return d.complete()
		}
		if rst0 <= m && m <= rst7 || m == 0x01 {
			continue // stray ones are harmless and have no segment
		}
		s, err := d.segment()
		if err != nil {
			return err
		}
		switch m {
		case sof0, sof1, sof2:
			d.progressive = m == sof2
			err = d.frame(s)
		case dht:
			err = d.huffmanTables(s)
		case dqt:
			err = d.quantTables(s)
		case dri:
			if len(s) != 2 {
				return fmt.Errorf("JPEG restart interval of %d bytes, want 2", len(s))
			}
			d.interval = int(binary.BigEndian.Uint16(s))
		case sos:
			err = d.scan(s)
		case app0:
			// libjpeg looks at markers up to the first scan.
			if d.scans == 0 && len(s) >= 14 && bytes.HasPrefix(s, []byte("JFIF\x00")) {
				d.jfif = true
			}
		case appE:
			if d.scans == 0 && len(s) >= 12 && bytes.HasPrefix(s, []byte("Adobe")) {
				d.adobe, d.transform = true, s[11]
			}
		case dnl, com:
		default:
			switch {
			case m > app0 && m < 0xf0:
			case m > sof2 && m < rst0 && m != jpg && m != dac:
				err = fmt.Errorf("JPEG coding SOF%d is not supported, want baseline, extended or progressive Huffman", m-sof0)
			default:
				err = fmt.Errorf("JPEG marker %#x is not supported", m)
			}
		}
		if err != nil {
			return err
		}
	}
}

// smoothed is the number of coefficients, in zigzag order, whose missing bits make
// libjpeg smooth the image (SAVED_COEFS in jdcoefct.h).
const smoothed = 10

// complete checks at the end of the image that every component was in a scan and
// that no scan is missing for whose lack libjpeg would smooth.
func (d *decoder) complete() error {
	if d.components == nil {
		return errors.New("JPEG has no frame header")
	}
	for i := range d.components {
		if d.components[i].quant == nil {
			return fmt.Errorf("JPEG has no scan of component %d", i)
		}
		for k, bit := range d.components[i].bit[:smoothed] {
			if d.progressive && bit != 1 {
				return fmt.Errorf("%w: component %d has no scan with the last bit of coefficient %d", errTruncated, i, k)
			}
		}
	}
	return nil
}

// frame reads a frame header (T.81, B.2.2).
func (d *decoder) frame(s []byte) error {
	if d.components != nil {
		return errors.New("JPEG has a second frame header")
	}
	if len(s) < 6 {
		return fmt.Errorf("JPEG frame header of %d bytes, want at least 6", len(s))
	}
	d.height, d.width = int(binary.BigEndian.Uint16(s[1:])), int(binary.BigEndian.Uint16(s[3:]))
	n := int(s[5])
	switch {
	case s[0] != 8:
		return fmt.Errorf("JPEG of %d bits a sample is not supported, want 8", s[0])
	case n != 1 && n != 3 && n != 4:
		return fmt.Errorf("JPEG of %d components is not supported, want 1, 3 or 4", n)
	case len(s) != 6+3*n:
		return fmt.Errorf("JPEG frame header of %d bytes for %d components, want %d", len(s), n, 6+3*n)
	case d.width < 1 || d.height < 1 || d.width > d.maxPixels/d.height:
		return fmt.Errorf("%d×%d pixels, want 1 to %d in all", d.width, d.height, d.maxPixels)
	}
	components := make([]component, n)
	maxH, maxV := 1, 1
	for i := range components {
		c := &components[i]
		c.id, c.h, c.v, c.table = s[6+3*i], int(s[7+3*i]>>4), int(s[7+3*i]&15), s[8+3*i]
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.table > 3 {
			return fmt.Errorf("JPEG component %d: sampling %d×%d and quantisation table %d, want at most 4×4 and table 3", i, c.h, c.v, c.table)
		}
		for j := range i {
			if components[j].id == c.id {
				return fmt.Errorf("JPEG components %d and %d have the same identifier %d", j, i, c.id)
			}
		}
		maxH, maxV = max(maxH, c.h), max(maxV, c.v)
	}
	d.mcus.across, d.mcus.down = ceil(d.width, 8*maxH), ceil(d.height, 8*maxV)
	for i := range components {
		c := &components[i]
		if maxH%c.h != 0 || maxV%c.v != 0 {
			return fmt.Errorf("JPEG component %d: sampling %d×%d of %d×%d is not a whole ratio", i, c.h, c.v, maxH, maxV)
		}
		c.across, c.down = maxH/c.h, maxV/c.v
		c.width, c.height = ceil(d.width, c.across), ceil(d.height, c.down)
		c.columns, c.rows = d.mcus.across*c.h, d.mcus.down*c.v
	}
	d.components = components
	return nil
}

// quantTables reads quantisation tables (T.81, B.2.4.1).
func (d *decoder) quantTables(s []byte) error {
	for len(s) > 0 {
		size := 1 + int(s[0]>>4)
		id := int(s[0] & 15)
		if size > 2 || id > 3 {
			return fmt.Errorf("JPEG quantisation table %d of %d bytes a value, want at most table 3 and 2 bytes", id, size)
		}
		if len(s) < 1+64*size {
			return fmt.Errorf("JPEG quantisation table %d has %d bytes, want %d", id, len(s)-1, 64*size)
		}
		var q [64]uint16
		for i := range q {
			if size == 1 {
				q[natural[i]] = uint16(s[1+i])
			} else {
				q[natural[i]] = binary.BigEndian.Uint16(s[1+2*i:])
			}
		}
		d.quant[id] = &q
		s = s[1+64*size:]
	}
	return nil
}

func ceil(n, by int) int { return (n + by - 1) / by }
