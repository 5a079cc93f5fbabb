package picture

import (
	"image"
	"image/color"
)

// raster is an RGB image, 3 bytes a pixel, row by row.
type raster struct {
	width, height int
	pix           []uint8
}

func newRaster(width, height int) raster {
	return raster{width, height, make([]uint8, 3*width*height)}
}

// rgb converts img as Pillow and libjpeg do.
func rgb(img image.Image) raster {
	b := img.Bounds()
	out := newRaster(b.Dx(), b.Dy())
	switch m := img.(type) {
	case *image.Gray:
		for y := range out.height {
			row := m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]
			for x := range out.width {
				i := 3 * (y*out.width + x)
				out.pix[i], out.pix[i+1], out.pix[i+2] = row[x], row[x], row[x]
			}
		}
		return out
	case *image.YCbCr:
		if fromYCbCr(out, m) {
			return out
		}
	}
	for y := range out.height {
		for x := range out.width {
			c := color.NRGBAModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
			i := 3 * (y*out.width + x)
			out.pix[i], out.pix[i+1], out.pix[i+2] = onWhite(c.R, c.A), onWhite(c.G, c.A), onWhite(c.B, c.A)
		}
	}
	return out
}

// onWhite is Pillow's alpha_composite (AlphaComposite.c) over opaque white.
func onWhite(v, alpha uint8) uint8 {
	const precision = 7
	if alpha == 0 {
		return 255
	}
	front := uint32(alpha) << precision
	back := uint32(255)<<precision - front
	sum := uint32(v)*front + 255*back + 0x80<<precision
	return uint8(((sum>>8 + sum) >> 8) >> precision)
}
