package picture

import (
	"bytes"
	"fmt"
	"image"

	"golang.org/x/image/webp"
)

// Flags of a WebP's VP8X header.
const (
	webpAnimated = 0x02
	webpAlpha    = 0x10
)

// decodeWebP decodes a still WebP as Pillow's open and libwebp do. The decoder's
// samples are those of libwebp; what it leaves to its caller is done here.
func decodeWebP(raw []byte) (image.Image, error) {
	c, err := webp.DecodeConfig(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if err := bounded(c); err != nil {
		return nil, err
	}
	// The header was read, so that these offsets are there: the kind of the first
	// chunk, the flags of VP8X, and the 29th bit of VP8L, which says there is alpha.
	kind, alpha := string(raw[12:16]), false
	switch kind {
	case "VP8X":
		if raw[20]&webpAnimated != 0 {
			return nil, fmt.Errorf("webp: it is animated, want a still image")
		}
		alpha = raw[20]&webpAlpha != 0
	case "VP8L":
		alpha = raw[24]&0x10 != 0
	}
	img, err := webp.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	switch m := img.(type) {
	case *image.NRGBA:
		if !alpha {
			for i := 3; i < len(m.Pix); i += 4 {
				m.Pix[i] = 255
			}
		}
		return m, nil
	case *image.YCbCr:
		return fromVP8(m), nil
	case *image.NYCbCrA:
		opaque := fromVP8(&m.YCbCr)
		out := image.NewNRGBA(m.Rect)
		for i := range out.Rect.Dx() * out.Rect.Dy() {
			x, y := i%out.Rect.Dx(), i/out.Rect.Dx()
			copy(out.Pix[4*i:], opaque.pix[3*i:3*i+3])
			out.Pix[4*i+3] = m.A[y*m.AStride+x]
		}
		return out, nil
	}
	return nil, fmt.Errorf("webp: decoded to %T", img)
}

// fromVP8 converts lossy WebP as libwebp does: chroma, halved both ways, is
// interpolated (dsp/upsampling.c), then converted from the limited range of BT.601
// with 14 fractional bits of which 8 are dropped early (dsp/yuv.h).
func fromVP8(m *image.YCbCr) raster {
	out := newRaster(m.Rect.Dx(), m.Rect.Dy())
	w, h := (out.width+1)/2, (out.height+1)/2
	for y := range out.height {
		near := y / 2 * m.CStride
		far := max(0, min(h-1, y/2-1+2*(y%2))) * m.CStride
		for x := range out.width {
			a := x / 2
			b := max(0, min(w-1, a-1+2*(x%2)))
			u := between(m.Cb[near+a], m.Cb[near+b], m.Cb[far+a], m.Cb[far+b])
			v := between(m.Cr[near+a], m.Cr[near+b], m.Cr[far+a], m.Cr[far+b])
			l := int(m.Y[y*m.YStride+x]) * 19077 >> 8 // 1.16414
			i := 3 * (y*out.width + x)
			out.pix[i] = clip((l + v*26149>>8 - 14234) >> 6)              // 1.59604
			out.pix[i+1] = clip((l - u*6419>>8 - v*13320>>8 + 8708) >> 6) // 0.39179, 0.81299
			out.pix[i+2] = clip((l + u*33050>>8 - 17685) >> 6)            // 2.01721
		}
	}
	return out
}

// between weighs four samples by 9, 3, 3 and 1, rounded in libwebp's two steps: the
// mean of all four with the two beside the nearest, then the mean with the nearest.
func between(nearest, beside, above, across uint8) int {
	n, b, a, c := int(nearest), int(beside), int(above), int(across)
	return (n + (n+b+a+c+8+2*(b+a))>>3) >> 1
}
