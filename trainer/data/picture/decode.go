package picture

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"

	"ressa/trainer/data/picture/jpeg"
)

// Limits of an encoded image. MaxPixels is a little below what Pillow warns
// about; decoding takes up to 12 bytes a pixel.
const (
	MaxPixels = 64 << 20
	MaxBytes  = 256 << 20
)

// Bytes is an encoded PNG, JPEG or WebP in memory.
type Bytes struct {
	Name string // where it comes from, for errors
	Data []byte
}

// Decode decodes the image. It fails when the data is neither PNG, JPEG nor WebP, is
// corrupt or has more than [MaxPixels].
func (b Bytes) Decode() (image.Image, error) {
	if len(b.Data) > MaxBytes {
		return nil, fmt.Errorf("image %s: %d bytes are more than the limit of %d", b.Name, len(b.Data), MaxBytes)
	}
	var img image.Image
	var err error
	switch {
	case bytes.HasPrefix(b.Data, []byte("\x89PNG\r\n\x1a\n")):
		img, err = decodePNG(b.Data)
	case bytes.HasPrefix(b.Data, []byte("\xff\xd8")):
		var m jpeg.Image
		m, err = jpeg.Decode(b.Data, MaxPixels)
		img = raster{m.Width, m.Height, m.Pix}
	case len(b.Data) >= 12 && string(b.Data[:4]) == "RIFF" && string(b.Data[8:12]) == "WEBP":
		img, err = decodeWebP(b.Data)
	default:
		return nil, fmt.Errorf("image %s: starts with %.8q, want PNG, JPEG or WebP", b.Name, b.Data[:min(8, len(b.Data))])
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", b.Name, err)
	}
	return img, nil
}

func decodePNG(raw []byte) (image.Image, error) {
	c, err := png.DecodeConfig(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if err := bounded(c); err != nil {
		return nil, err
	}
	return png.Decode(bytes.NewReader(raw))
}

// bounded checks the size that an image's header gives.
func bounded(c image.Config) error {
	if c.Width < 1 || c.Height < 1 || c.Width > MaxPixels/c.Height {
		return fmt.Errorf("%d×%d pixels, want 1 to %d in all", c.Width, c.Height, MaxPixels)
	}
	return nil
}

// File is an image file that is read when it is decoded.
type File struct {
	// Open opens the file; os.Open or a confined [os.Root.Open].
	Open func(name string) (*os.File, error)
	Name string
}

// Decode reads and decodes the file.
func (f File) Decode() (image.Image, error) {
	file, err := f.Open(f.Name)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", f.Name, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("image %s: not a regular file", f.Name)
	}
	raw, err := io.ReadAll(io.LimitReader(file, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", f.Name, err)
	}
	return Bytes{Name: f.Name, Data: raw}.Decode()
}

// Still is an image that is decoded already.
type Still struct{ Image image.Image }

// Decode returns the image.
func (s Still) Decode() (image.Image, error) { return s.Image, nil }
