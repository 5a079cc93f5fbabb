package picture

import "math"

// fraction is the number of fractional bits of Pillow's coefficients (Resample.c:
// 32 bits less 8 for the pixel and 2 for overshoot).
const fraction = 32 - 8 - 2

// resize scales img as Pillow 13's Image.resize does: in two passes, each rounded
// to 8 bits. The vertical one comes first where the height shrinks by more than
// twice what the width does (pull request 9549 of Pillow; before version 13 the
// horizontal pass always came first, which differs by a few grey levels).
func resize(img raster, width, height, filter int) raster {
	if height < img.height && img.height-height > 2*(img.width-width) {
		return across(down(img, height, filter), width, filter)
	}
	return down(across(img, width, filter), height, filter)
}

func across(img raster, width, filter int) raster {
	if width == img.width {
		return img
	}
	out := newRaster(width, img.height)
	for x, c := range coefficients(img.width, width, filter) {
		for y := range img.height {
			convolve(out.pix[3*(y*width+x):], img.pix[3*(y*img.width+c.first):], 3, c.weights)
		}
	}
	return out
}

func down(img raster, height, filter int) raster {
	if height == img.height {
		return img
	}
	width := img.width
	out := newRaster(width, height)
	for y, c := range coefficients(img.height, height, filter) {
		for x := range width {
			convolve(out.pix[3*(y*width+x):], img.pix[3*(c.first*width+x):], 3*width, c.weights)
		}
	}
	return out
}

// convolve writes one pixel from len(weights) pixels, step bytes apart.
func convolve(to, from []uint8, step int, weights []int) {
	for channel := range 3 {
		sum := 1 << (fraction - 1)
		for i, w := range weights {
			sum += int(from[i*step+channel]) * w
		}
		to[channel] = clip(sum >> fraction)
	}
}

type taps struct {
	first   int
	weights []int // in units of 2^-fraction
}

// coefficients returns the taps of every output pixel, as precompute_coeffs and
// normalize_coeffs_8bpc do. Products are rounded before they are summed, so that
// no architecture fuses them.
func coefficients(in, out, filter int) []taps {
	weight, support := bilinear, 1.0
	if filter == Bicubic {
		weight, support = bicubic, 2.0
	}
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support = float64(support * stretch)
	inverse := 1 / stretch
	all := make([]taps, out)
	raw := make([]float64, 0, 2*int(math.Ceil(support))+1)
	for i := range all {
		center := float64((float64(i) + 0.5) * scale)
		first := max(0, int(center-support+0.5))
		last := min(in, int(center+support+0.5))
		raw = raw[:0]
		total := 0.0
		for x := first; x < last; x++ {
			w := weight(float64((float64(x) - center + 0.5) * inverse))
			raw = append(raw, w)
			total += w
		}
		all[i] = taps{first, make([]int, len(raw))}
		for j, w := range raw {
			if total != 0 {
				w /= total
			}
			all[i].weights[j] = int(math.Copysign(0.5, w) + float64(w*(1<<fraction)))
		}
	}
	return all
}

func bilinear(x float64) float64 { return max(0, 1-math.Abs(x)) }

// bicubic is Keys' cubic with a = −½.
func bicubic(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return float64(float64((float64((a+2)*x)-(a+3))*x)*x) + 1
	case x < 2:
		return float64((float64((float64((x-5)*x)+8)*x) - 4) * a)
	}
	return 0
}
