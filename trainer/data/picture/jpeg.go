package picture

import "image"

// fromYCbCr converts a decoded JPEG as libjpeg does: chroma that was subsampled
// by two is interpolated ("fancy upsampling", jdsample.c), then converted with 16
// fractional bits (jdcolor.c). It reports false for other subsampling ratios.
func fromYCbCr(out raster, m *image.YCbCr) bool {
	if m.Rect.Min != (image.Point{}) {
		return false
	}
	var across, down bool
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio444:
	case image.YCbCrSubsampleRatio422:
		across = true
	case image.YCbCrSubsampleRatio440:
		down = true
	case image.YCbCrSubsampleRatio420:
		across, down = true, true
	default:
		return false
	}
	cb := upsample(m.Cb, m.CStride, out.width, out.height, across, down)
	cr := upsample(m.Cr, m.CStride, out.width, out.height, across, down)
	const half = 1 << 15
	for y := range out.height {
		for x := range out.width {
			at := y*out.width + x
			l := int(m.Y[y*m.YStride+x])
			b, r := int(cb[at])-128, int(cr[at])-128
			out.pix[3*at] = clip(l + (91881*r+half)>>16)            // 1.40200
			out.pix[3*at+1] = clip(l + (-22554*b-46802*r+half)>>16) // 0.34414, 0.71414
			out.pix[3*at+2] = clip(l + (116130*b+half)>>16)         // 1.77200
		}
	}
	return true
}

func clip(v int) uint8 { return uint8(max(0, min(255, v))) }

// upsample returns a plane of width × height from one that is halved across, down
// or both ways, by the triangle filter: 3/4 of the nearer sample, 1/4 of the next.
func upsample(plane []uint8, stride, width, height int, across, down bool) []uint8 {
	w, h := width, height
	if across {
		w = (width + 1) / 2
	}
	if down {
		h = (height + 1) / 2
	}
	fancy := w > 2 // libjpeg repeats samples in narrower planes
	out := make([]uint8, width*height)
	sums := make([]int, w)
	for y := range height {
		near, far := y, y
		if down {
			near = y / 2
			far = max(0, min(h-1, near-1+2*(y%2)))
		}
		current, next := plane[near*stride:], plane[far*stride:]
		row := out[y*width : (y+1)*width]
		switch {
		case !across && !down:
			copy(row, current[:w])
		case !across: // halved down only
			for x := range row {
				row[x] = uint8((3*int(current[x]) + int(next[x]) + 1 + y%2) >> 2)
			}
		case !fancy:
			for x := range row {
				row[x] = current[x/2]
			}
		default:
			// Sums carry a factor of 4 where two rows were joined.
			scale, even, odd := 4, 1, 2
			for x := range sums {
				sums[x] = int(current[x])
				if down {
					sums[x] = 3*sums[x] + int(next[x])
				}
			}
			if down {
				scale, even, odd = 16, 8, 7
			}
			for x := range row {
				at := x / 2
				other, bias := at-1, even
				if x%2 == 1 {
					other, bias = at+1, odd
				}
				if other < 0 || other >= w {
					other = at
				}
				row[x] = uint8((3*sums[at] + sums[other] + bias) / scale)
			}
		}
	}
	return out
}
