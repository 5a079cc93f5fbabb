package picture

import (
	"encoding/json"
	"image"
	"math"
	"os"
	"path/filepath"
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
// made them. They must agree to the last bit.
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
			worst, n := 0.0, want.width*want.height
			for i, w := range want.pix {
				worst = max(worst, math.Abs(float64(got[i%3*n+i/3])-float64(w)))
			}
			if worst > 0 {
				t.Errorf("off by up to %v grey levels", worst)
			}
			full, err := p.Process(img)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range c.Normalised {
				at := (int(v[0])*want.height+int(v[1]))*want.width + int(v[2])
				if d := math.Abs(float64(full[at]) - v[3]); d > 1e-6 {
					t.Errorf("value %v is %v", v, full[at])
				}
			}
		})
	}
}
