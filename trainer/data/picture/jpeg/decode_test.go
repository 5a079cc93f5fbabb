package jpeg

import (
	"bytes"
	"encoding/binary"
	"image"
	stdjpeg "image/jpeg"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const limit = 1 << 20

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../testdata/decoded", name+".jpg"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// find returns the position after the n-th of a marker, counted from 0.
func find(t testing.TB, raw []byte, marker uint8, n int) int {
	t.Helper()
	at := 0
	for range n + 1 {
		i := bytes.Index(raw[at:], []byte{0xff, marker})
		if i < 0 {
			t.Fatalf("no marker %#x", marker)
		}
		at += i + 2
	}
	return at
}

// with returns raw with one byte behind a marker set.
func with(t testing.TB, raw []byte, marker uint8, offset int, value uint8) []byte {
	t.Helper()
	out := bytes.Clone(raw)
	out[find(t, raw, marker, 0)+offset] = value
	return out
}

func TestDecodeRefuses(t *testing.T) {
	plain, progressive, restarts := read(t, "420-q75"), read(t, "420-progressive"), read(t, "420-restarts")
	huge := bytes.Clone(plain)
	binary.BigEndian.PutUint32(huge[find(t, plain, sof0, 0)+3:], 0x03ff03ff)
	wide := bytes.Clone(plain)
	binary.BigEndian.PutUint32(wide[find(t, plain, sof0, 0)+3:], 0xffffffff)
	header := find(t, plain, sof0, 0) - 2
	doubled := append(bytes.Clone(plain[:header+19]), plain[header:]...)
	start := find(t, progressive, sos, 0) - 2
	scans := append(bytes.Clone(progressive[:start]), bytes.Repeat(progressive[start:find(t, progressive, dht, 2)-2], maxScans+1)...)
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"empty":                {nil, "starts with"},
		"only a start":         {[]byte{0xff, soi}, "truncated"},
		"no frame":             {[]byte{0xff, soi, 0xff, eoi}, "no frame header"},
		"no scan":              {append(bytes.Clone(plain[:header+19]), 0xff, eoi), "no scan of component 0"},
		"cut in a scan":        {plain[:len(plain)-60], "truncated"},
		"no end":               {plain[:len(plain)-2], "truncated"},
		"data ends early":      {append(bytes.Clone(plain[:len(plain)-60]), 0xff, eoi), "corrupt data"},
		"without last scans":   {append(bytes.Clone(progressive[:find(t, progressive, sos, 4)-2]), 0xff, eoi), "no scan with the last bit"},
		"too many pixels":      {wide, "65535×65535 pixels"},
		"too short for size":   {huge, "1023×1023 pixels in"},
		"12 bits":              {with(t, plain, sof0, 2, 12), "12 bits"},
		"2 components":         {with(t, plain, sof0, 7, 2), "2 components"},
		"header too short":     {with(t, plain, sof0, 7, 4), "frame header of 15 bytes for 4 components"},
		"no height":            {with(t, plain, sof0, 4, 0), "29×0 pixels"},
		"sampling of 0":        {with(t, plain, sof0, 9, 0x02), "sampling 0×2"},
		"sampling of 5":        {with(t, plain, sof0, 9, 0x15), "sampling 1×5"},
		"no whole ratio":       {with(t, with(t, plain, sof0, 9, 0x31), sof0, 12, 0x21), "not a whole ratio"},
		"large MCU":            {with(t, plain, sof0, 9, 0x44), "18 blocks in an MCU"},
		"equal identifiers":    {with(t, plain, sof0, 11, 1), "the same identifier 1"},
		"two frames":           {doubled, "second frame header"},
		"arithmetic":           {with(t, plain, sof0, -1, 0xc9), "SOF9"},
		"lossless":             {with(t, plain, sof0, -1, 0xc3), "SOF3"},
		"unknown marker":       {with(t, plain, dht, -1, 0x02), "marker 0x2"},
		"short segment":        {with(t, with(t, plain, dqt, 0, 0), dqt, 1, 1), "segment of 1 bytes"},
		"quantisation missing": {with(t, plain, sof0, 10, 3), "quantisation table 3 is missing"},
		"quantisation table 9": {with(t, plain, dqt, 2, 9), "quantisation table 9"},
		"Huffman missing":      {with(t, plain, sos, 4, 0x22), "Huffman table is missing"},
		"Huffman overfull":     {with(t, with(t, plain, dht, 3, 3), dht, 5, 2), "codes of 1 bits do not fit"},
		"Huffman class":        {with(t, plain, dht, 2, 0x20), "class 2"},
		"Huffman too long":     {with(t, plain, dht, 18, 255), "codes in"},
		"component unknown":    {with(t, plain, sos, 3, 9), "component 9 is not in the frame"},
		"component twice":      {with(t, plain, sos, 5, 1), "component 1 twice"},
		"scan header":          {with(t, plain, sos, 2, 2), "header of 10 bytes"},
		"bad spectrum":         {with(t, progressive, sos, 10, 5), "coefficients 0 to 5"},
		"bad bits":             {with(t, progressive, sos, 11, 0x3f), "bits 15 after 3"},
		"restart out of order": {with(t, restarts, rst0, -1, rst0+3), "marker 0xd3, want the restart marker 0xd0"},
		"endless scans":        {scans, "more than 500 scans"},
	} {
		if _, err := Decode(c.raw, limit); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// What libjpeg puts up with in files that are otherwise whole changes no pixel.
func TestDecodeTolerates(t *testing.T) {
	plain := read(t, "420-q75")
	want, err := Decode(plain, limit)
	if err != nil {
		t.Fatal(err)
	}
	insert := func(at int, extra ...byte) []byte {
		return append(append(bytes.Clone(plain[:at]), extra...), plain[at:]...)
	}
	for name, raw := range map[string][]byte{
		"fill bytes":         insert(find(t, plain, dqt, 0)-2, 0xff, 0xff),
		"bytes before":       insert(find(t, plain, dqt, 0)-2, 1, 2, 0xff, 0),
		"comment":            insert(find(t, plain, dqt, 0)-2, 0xff, com, 0, 4, 'o', 'k'),
		"stray restart":      insert(len(plain)-2, 0xff, rst0),
		"bytes after a scan": insert(len(plain)-2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
		"bytes at the end":   append(bytes.Clone(plain), 1, 2, 3),
	} {
		got, err := Decode(raw, limit)
		if err != nil || !bytes.Equal(got.Pix, want.Pix) {
			t.Errorf("%s: other pixels, error %v", name, err)
		}
	}
}

// The transform is within the accuracy that IEEE 1180 asks of one: at most one level
// from the exact result rounded.
func TestInverse(t *testing.T) {
	var quant [64]uint16
	for i := range quant {
		quant[i] = uint16(1 + i/8)
	}
	state := uint32(1)
	next := func(n int) int {
		state = state*1664525 + 1013904223
		return int(state>>8) % n
	}
	for trial := range 200 {
		var block [64]int16
		for range trial % 65 {
			i := next(64)
			block[i] = int16((next(401) - 200) / int(quant[i]))
		}
		c := component{columns: 1, rows: 1, quant: &quant, plane: make([]uint8, 64)}
		c.inverse(&block, 0, 0)
		for y := range 8 {
			for x := range 8 {
				sum := 0.0
				for i, v := range block {
					a := math.Cos(float64((2*x+1)*(i%8)) * math.Pi / 16)
					b := math.Cos(float64((2*y+1)*(i/8)) * math.Pi / 16)
					if i%8 == 0 {
						a *= math.Sqrt2 / 2
					}
					if i/8 == 0 {
						b *= math.Sqrt2 / 2
					}
					sum += a * b * float64(v) * float64(quant[i]) / 4
				}
				exact := max(0, min(255, sum+128))
				if d := math.Abs(float64(c.plane[8*y+x]) - exact); d > 1 {
					t.Fatalf("trial %d: sample %d, %d is %d, exactly %.2f", trial, x, y, c.plane[8*y+x], exact)
				}
			}
		}
	}
}

// FuzzDecode holds that no file panics or gives other than whole images.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"420-q50", "444-progressive", "420-restarts", "progressive-restarts", "440-progressive",
		"mixed-separate-q85", "grey-q50", "grey-progressive", "grey-2x2", "cmyk", "ycck", "rgb", "wide-table", "422-1x1"} {
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := Decode(raw, 1<<16)
		if err != nil {
			return
		}
		if got.Width < 1 || got.Height < 1 || len(got.Pix) != 3*got.Width*got.Height {
			t.Fatalf("%d×%d pixels in %d bytes", got.Width, got.Height, len(got.Pix))
		}
	})
}

// The standard library decodes grey images to within one level of ours.
func TestStandardLibraryAgrees(t *testing.T) {
	for _, name := range []string{"grey-q50", "grey-q95", "grey-progressive", "grey-2x2"} {
		raw := read(t, name)
		got, err := Decode(raw, limit)
		if err != nil {
			t.Fatal(err)
		}
		m, err := stdjpeg.Decode(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		grey := m.(*image.Gray)
		for i := range got.Width * got.Height {
			d := int(grey.Pix[grey.PixOffset(i%got.Width, i/got.Width)]) - int(got.Pix[3*i])
			if d > 1 || d < -1 {
				t.Fatalf("%s: pixel %d is off by %d", name, i, d)
			}
		}
	}
}
