package jpeg

// Image is a decoded image: red, green and blue, 3 bytes a pixel, row by row.
type Image struct {
	Width, Height int
	Pix           []uint8
}

// Decode decodes a JPEG as Pillow's open and convert("RGB") do: grey becomes three
// equal channels, CMYK is taken to be inverted as Adobe writes it. It fails when the
// data is corrupt, truncated, of a kind that the package does not read, or has more
// than maxPixels pixels.
func Decode(data []byte, maxPixels int) (Image, error) {
	d := decoder{data: data, maxPixels: maxPixels}
	if err := d.read(); err != nil {
		return Image{}, err
	}
	if d.progressive {
		for i := range d.components {
			c := &d.components[i]
			c.plane = make([]uint8, len(c.coefficients))
			for b := range c.columns * c.rows {
				c.inverse((*[64]int16)(c.coefficients[64*b:]), b%c.columns, b/c.columns)
			}
			c.coefficients = nil
		}
	}
	out := Image{d.width, d.height, make([]uint8, 3*d.width*d.height)}
	var rows [4][]uint8
	for i := range d.components {
		rows[i] = make([]uint8, d.width)
	}
	luminance := d.luminance()
	for y := range d.height {
		for i := range d.components {
			d.components[i].row(y, rows[i])
		}
		pix := out.Pix[3*y*d.width : 3*(y+1)*d.width]
		switch {
		case len(d.components) == 1:
			for x, v := range rows[0] {
				pix[3*x], pix[3*x+1], pix[3*x+2] = v, v, v
			}
			continue
		case luminance:
			fromLuminance(pix, rows[0], rows[1], rows[2])
		default:
			for x := range d.width {
				pix[3*x], pix[3*x+1], pix[3*x+2] = rows[0][x], rows[1][x], rows[2][x]
			}
		}
		if len(d.components) == 4 {
			fromInk(pix, rows[3], luminance)
		}
	}
	return out, nil
}

// luminance reports whether the first three channels are luminance and chroma, by
// the rules of libjpeg's jdapimin.c.
func (d *decoder) luminance() bool {
	c := d.components
	switch {
	case len(c) == 4:
		return d.adobe && d.transform != 0
	case len(c) != 3 || d.jfif:
		return len(c) == 3
	case d.adobe:
		return d.transform != 0
	}
	return !(c[0].id == 'R' && c[1].id == 'G' && c[2].id == 'B')
}

// fromLuminance converts a row with 16 fractional bits (libjpeg's jdcolor.c).
func fromLuminance(pix, luma, blue, red []uint8) {
	const half = 1 << 15
	for x, v := range luma {
		l, b, r := int32(v), int32(blue[x])-128, int32(red[x])-128
		pix[3*x] = clip(l + (91881*r+half)>>16)            // 1.40200
		pix[3*x+1] = clip(l + (-22554*b-46802*r+half)>>16) // 0.34414, 0.71414
		pix[3*x+2] = clip(l + (116130*b+half)>>16)         // 1.77200
	}
}

// fromInk takes CMY from pix and converts it with K to RGB as Pillow's Convert.c
// does. Pillow inverts all four. libjpeg inverts CMY where it comes from luminance
// and chroma, so that it is as it was there.
func fromInk(pix, black []uint8, luminance bool) {
	for x, v := range black {
		k := int32(v) // 255 less the ink
		for i := 3 * x; i < 3*x+3; i++ {
			ink := int32(pix[i])
			if !luminance {
				ink = 255 - ink
			}
			t := ink*k + 128
			pix[i] = clip(k - (t>>8+t)>>8)
		}
	}
}
