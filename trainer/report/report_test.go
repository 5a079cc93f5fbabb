package report

import (
	"bytes"
	"image/png"
	"os"
	"testing"

	"ressa/coordinator/api"
)

func example() (Data, api.Result) {
	score := func(s float64) *api.Score {
		return &api.Score{Score: s, Low: s - 1, High: s + 1, Questions: 10000, Kinds: []api.KindScore{{Kind: "count", Score: s}}}
	}
	r := api.Result{Dense: score(84.6), Pruned: score(59), Repaired: score(82), Blind: score(40)}
	d := Data{Title: "demo · wanda 2:4", Scores: r.Scores()}
	for i := range 100 {
		d.Steps = append(d.Steps, api.Step{Step: i + 1, Loss: 2 / float64(i+2), CE: 3 / float64(i+2)})
	}
	for i := range 30 {
		tower := "vision"
		if i > 14 {
			tower = "language"
		}
		d.Layers = append(d.Layers, api.Layer{Tower: tower, Sparsity: 0.5})
	}
	return d, r
}

func TestPNG(t *testing.T) {
	d, _ := example()
	raw, err := PNG(d)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if b := img.Bounds(); b.Dx() < 1000 || b.Dy() < 300 {
		t.Errorf("picture is %v", b)
	}
	again, err := PNG(d)
	if err != nil || !bytes.Equal(raw, again) {
		t.Errorf("the same data gives another picture (%v)", err)
	}
	if path := os.Getenv("RESSA_PLOT"); path != "" {
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPNGOfNothing(t *testing.T) {
	if _, err := PNG(Data{}); err != nil {
		t.Fatal(err)
	}
}
