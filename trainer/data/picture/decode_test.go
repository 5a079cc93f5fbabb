package picture

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// bomb is a small PNG that says it is huge.
func bomb(t testing.TB) []byte {
	raw := bytes.Clone(read(t, "rgb.png"))
	binary.BigEndian.PutUint32(raw[16:], 1<<20)
	binary.BigEndian.PutUint32(raw[20:], 1<<20)
	binary.BigEndian.PutUint32(raw[29:], crc32.ChecksumIEEE(raw[12:29]))
	return raw
}

func TestDecodeRefuses(t *testing.T) {
	png, jpeg := read(t, "rgb.png"), read(t, "j420.jpg")
	webp, animated := read(t, "decoded/lossy-q75.webp"), bytes.Clone(read(t, "decoded/orientation.webp"))
	animated[20] |= webpAnimated
	wide := bytes.Clone(webp)
	binary.LittleEndian.PutUint32(wide[26:], 0x3fff3fff)
	flipped := bytes.Clone(png)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":          {nil, "want PNG, JPEG or WebP"},
		"text":           {[]byte("<html>not found</html>"), "want PNG, JPEG or WebP"},
		"truncated png":  {png[:len(png)/2], "not enough pixel data"},
		"corrupt png":    {flipped, "png"},
		"truncated jpeg": {jpeg[:len(jpeg)/2], "JPEG"},
		"bomb":           {bomb(t), "1048576×1048576 pixels"},
		"truncated webp": {webp[:len(webp)/2], "EOF"},
		"webp header":    {webp[:14], "short chunk header"},
		"animated webp":  {animated, "animated"},
		"wide webp":      {wide, "16383×16383 pixels"},
	} {
		_, err := Bytes{Name: "photos/7.png", Data: c.data}.Decode()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "photos/7.png") {
			t.Errorf("%s: error %v, want one with the name and %q", name, err, c.want)
		}
	}
	for _, path := range []string{"missing.png", "testdata"} {
		if _, err := (File{Open: os.Open, Name: path}).Decode(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		`{"image_processor_type":"SiglipImageProcessor"}`: "image_processor_type",
		`{"resample":1}`:                       "resample",
		`{"size":{"longest_edge":5}}`:          "size",
		`{"size":{"height":100000,"width":5}}`: "size",
		`{"size":"big"}`:                       "size",
		`{"do_center_crop":false}`:             "do_center_crop",
		`{"do_convert_rgb":false}`:             "do_convert_rgb",
		`{"do_pad":true}`:                      "do_pad",
		`{"image_std":[1,0,1]}`:                "image_std[1]",
		`{"image_mean":[1]}`:                   "image_mean",
		`{"rescale_factor":0}`:                 "rescale_factor",
		`{"crop_size":0}`:                      "crop_size",
	} {
		if _, err := Parse([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", raw, err, want)
		}
	}
	p, err := Parse([]byte(`{"size":48,"crop_size":40,"feature_extractor_type":"CLIPFeatureExtractor"}`))
	if err != nil {
		t.Fatal(err)
	}
	if h, w := p.Size(); h != 40 || w != 40 || p.Config().Size.ShortestEdge != 48 {
		t.Errorf("numbers as sizes give %+v", p.Config())
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "preprocessor_config.json") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestLoadBothFiles(t *testing.T) {
	for name, raw := range map[string]string{
		"preprocessor_config.json": `{"crop_size":{"height":30,"width":20}}`,
		"processor_config.json":    `{"image_processor":{"crop_size":{"height":30,"width":20}},"patch_size":14}`,
	} {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Load(folder)
		if err != nil {
			t.Fatal(err)
		}
		if h, w := p.Size(); h != 30 || w != 20 {
			t.Errorf("%s: %d×%d", name, h, w)
		}
	}
}

// A view into a larger image, with an origin other than 0, gives the same pixels.
func TestProcessSubImage(t *testing.T) {
	p, err := Parse([]byte(`{"size":{"height":20,"width":20},"do_center_crop":false}`))
	if err != nil {
		t.Fatal(err)
	}
	big := image.NewGray(image.Rect(0, 0, 40, 40))
	small := image.NewGray(image.Rect(0, 0, 20, 20))
	for i := range small.Pix {
		small.Pix[i] = uint8(i * 7)
		big.Pix[(i/20+10)*40+i%20+5] = uint8(i * 7)
	}
	a, err := p.Process(small)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Process(big.SubImage(image.Rect(5, 10, 25, 30)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("value %d is %v and %v", i, a[i], b[i])
		}
	}
	if _, err := p.Process(image.NewGray(image.Rect(0, 0, 0, 5))); err == nil {
		t.Error("an empty image is processed")
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"rgb.png", "palettealpha.png", "j420.jpg", "progressive.jpg", "narrow.jpg",
		"decoded/lossy-q50.webp", "decoded/lossy-alpha.webp", "decoded/lossless-exact.webp"} {
		f.Add(read(f, name))
	}
	f.Add(bomb(f))
	p, err := Parse([]byte(`{"size":{"height":9,"width":8},"do_center_crop":false}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		img, err := Bytes{Name: "fuzz", Data: raw}.Decode()
		if err != nil || img.Bounds().Dx()*img.Bounds().Dy() > 1<<16 {
			return
		}
		if v, err := p.Process(img); err == nil && len(v) != 3*9*8 {
			t.Fatalf("%d values", len(v))
		}
	})
}
