package picture

import (
	"encoding/json"
	"image"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type goldenCase struct {
	Config               json.RawMessage
	Name, Source, Output string
	Normalised           [][4]float64 // channel, y, x, value
}

func decode(t testing.TB, name string) image.Image {
	t.Helper()
	img, err := File{Open: os.Open, Name: filepath.Join("testdata", name)}.Decode()
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// The outputs are those of transformers' CLIPImageProcessor; testdata/golden.py
// made them. PNG must agree to the last bit. The decoders of JPEG round their
// inverse transforms differently: up to one level in 4 % of the samples of a
// channel, which the conversion to RGB and bicubic overshoot make up to three.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name+"/"+c.Source, func(t *testing.T) {
			p, err := Parse(c.Config)
			if err != nil {
				t.Fatal(err)
			}
			want := rgb(decode(t, c.Output))
			if h, w := p.Size(); h != want.height || w != want.width {
				t.Fatalf("%d×%d pixels, want %d×%d", w, h, want.width, want.height)
			}
			levels := *p
			levels.config.DoRescale, levels.config.DoNormalize = false, false
			img := decode(t, c.Source)
			got, err := levels.Process(img)
			if err != nil {
				t.Fatal(err)
			}
			allowed := 0.0
			if strings.HasSuffix(c.Source, ".jpg") {
				allowed = 3
			}
			worst, total, n := 0.0, 0.0, want.width*want.height
			for i, w := range want.pix {
				d := math.Abs(float64(got[i%3*n+i/3]) - float64(w))
				worst = max(worst, d)
				total += d
			}
			if mean := total / float64(len(want.pix)); worst > allowed || mean > 0.2 {
				t.Errorf("off by up to %v grey levels, %.3f on average", worst, mean)
			}
			full, err := p.Process(img)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range c.Normalised {
				at := (int(v[0])*want.height+int(v[1]))*want.width + int(v[2])
				// One grey level is 1/255/std, at most 0.0154.
				if d := math.Abs(float64(full[at]) - v[3]); d > 1e-6+allowed*0.0154 {
					t.Errorf("value %v is %v", v, full[at])
				}
			}
		})
	}
}
