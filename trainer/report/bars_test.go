package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"testing"
)

func TestBarsAreDrawnForEveryPanel(t *testing.T) {
	one := []Panel{{Title: "a", Mark: 1, Bars: []Bar{{Label: "x", Group: "g", Value: 0.5, Low: 0.4, High: 0.6}, {Label: "y", Value: 300, Low: 2, High: 400}}}}
	size := func(panels []Panel) int {
		raw, err := Bars("title", panels, false)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		return img.Bounds().Dy()
	}
	if a, b := size(one), size(append(one, one...)); b <= a {
		t.Errorf("two panels are %d high, one %d", b, a)
	}
	raw, err := Bars("title", one, true)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(raw)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the SVG is not XML: %v", err)
		}
	}
	if !bytes.Contains(raw, []byte("<svg")) {
		t.Error("no SVG was written")
	}
}
