package picture

import (
	"fmt"
	"image"
)

// Processor turns an image into the pixels of a vision tower. It is immutable and
// safe for concurrent use.
type Processor struct{ config Config }

// Config returns the configuration, with sizes in their full form.
func (p *Processor) Config() Config { return p.config }

// Size returns the height and width of every processed image.
func (p *Processor) Size() (height, width int) {
	if p.config.DoCenterCrop {
		return p.config.CropSize.Height, p.config.CropSize.Width
	}
	return p.config.Size.Height, p.config.Size.Width
}

// Process returns the pixels of img as CHW [3·H·W]: red, green and blue planes,
// row by row, H and W those of [Processor.Size]. In order: RGB, resize, centre crop
// (padded with black where the image is smaller), rescale, normalise.
func (p *Processor) Process(img image.Image) ([]float32, error) {
	b := img.Bounds()
	if b.Dx() < 1 || b.Dy() < 1 {
		return nil, fmt.Errorf("image of %d×%d pixels is empty", b.Dx(), b.Dy())
	}
	r := rgb(img)
	if p.config.DoResize {
		width, height := p.target(r.width, r.height)
		if width > MaxPixels/height {
			return nil, fmt.Errorf("image of %d×%d pixels would be resized to %d×%d, more than %d pixels",
				r.width, r.height, width, height, MaxPixels)
		}
		r = resize(r, width, height, p.config.Resample)
	}
	if p.config.DoCenterCrop {
		r = crop(r, p.config.CropSize.Width, p.config.CropSize.Height)
	}
	return p.planes(r), nil
}

// target is the size after resizing. With shortest_edge the longer edge is cut
// down to a whole number, as int() does in the reference.
func (p *Processor) target(width, height int) (int, int) {
	edge := p.config.Size.ShortestEdge
	if edge == 0 {
		return p.config.Size.Width, p.config.Size.Height
	}
	if width <= height {
		return edge, edge * height / width
	}
	return edge * width / height, edge
}

// crop cuts the centre out, or pads with black: the centre lies half a pixel to
// the upper left where the sizes' difference is odd, to the lower right in padding.
func crop(r raster, width, height int) raster {
	out := newRaster(width, height)
	left, top := offset(r.width, width), offset(r.height, height)
	for y := range height {
		from := y + top
		if from < 0 || from >= r.height {
			continue
		}
		for x := range width {
			if at := x + left; at >= 0 && at < r.width {
				copy(out.pix[3*(y*width+x):3*(y*width+x)+3], r.pix[3*(from*r.width+at):])
			}
		}
	}
	return out
}

// offset is where a crop of size starts in an edge of length, floor of half the
// difference; both ways round it is what transformers' center_crop computes.
func offset(length, size int) int { return (length - size) >> 1 }

func (p *Processor) planes(r raster) []float32 {
	n := r.width * r.height
	out := make([]float32, 3*n)
	var values [256]float32
	for c := range 3 {
		for v := range values {
			x := float32(v)
			if p.config.DoRescale {
				x = float32(float64(v) * p.config.RescaleFactor)
			}
			if p.config.DoNormalize {
				x = (x - float32(p.config.Mean[c])) / float32(p.config.Std[c])
			}
			values[v] = x
		}
		for i := range n {
			out[c*n+i] = values[r.pix[3*i+c]]
		}
	}
	return out
}
