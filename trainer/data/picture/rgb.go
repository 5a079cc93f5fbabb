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

// ColorModel, Bounds and At make it an [image.Image].
func (r raster) ColorModel() color.Model { return color.RGBAModel }

// Bounds starts at 0, 0.
func (r raster) Bounds() image.Rectangle { return image.Rect(0, 0, r.width, r.height) }

// At returns an opaque colour, or none outside the image.
func (r raster) At(x, y int) color.Color {
	if !(image.Point{X: x, Y: y}).In(r.Bounds()) {
		return color.RGBA{}
	}
	i := 3 * (y*r.width + x)
	return color.RGBA{r.pix[i], r.pix[i+1], r.pix[i+2], 255}
}

func clip(v int) uint8 { return uint8(max(0, min(255, v))) }

// rgb converts img as Pillow does. It may return the pixels of img themselves, which
// nothing changes.
func rgb(img image.Image) raster {
	if r, ok := img.(raster); ok {
		return r
	}
	b := img.Bounds()
	out := newRaster(b.Dx(), b.Dy())
	if m, ok := img.(*image.Gray); ok {
		for y := range out.height {
			row := m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]
			for x := range out.width {
				i := 3 * (y*out.width + x)
				out.pix[i], out.pix[i+1], out.pix[i+2] = row[x], row[x], row[x]
			}
		}
		return out
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
