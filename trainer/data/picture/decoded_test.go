package picture

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testdata/decoded.py made the images and, beside each, Pillow's pixels. They are
// equal for every sampling of JPEG and kind of WebP. Two of the images have an EXIF
// orientation, which neither applies.
func TestDecodedPixels(t *testing.T) {
	paths, err := filepath.Glob("testdata/decoded/*.png")
	if err != nil || len(paths) < 70 {
		t.Fatalf("%d images, error %v", len(paths), err)
	}
	worst := map[string]int{}
	for _, path := range paths {
		want := rgb(decode(t, strings.TrimPrefix(path, "testdata/")))
		name := strings.TrimSuffix(filepath.Base(path), ".png")
		got := rgb(decode(t, "decoded/"+name))
		if got.width != want.width || got.height != want.height {
			t.Errorf("%s: %d×%d pixels, want %d×%d", name, got.width, got.height, want.width, want.height)
			continue
		}
		most, count := 0, 0
		for i, w := range want.pix {
			d := int(got.pix[i]) - int(w)
			if d != 0 {
				count++
			}
			most = max(most, d, -d)
		}
		if most > 0 {
			t.Errorf("%s: %d of %d values differ, by up to %d", name, count, len(want.pix), most)
		}
		kind, _, _ := strings.Cut(strings.TrimSuffix(name, filepath.Ext(name)), "-")
		worst[kind+filepath.Ext(name)] = max(worst[kind+filepath.Ext(name)], most)
	}
	for _, kind := range slices.Sorted(maps.Keys(worst)) {
		t.Logf("%s: at most %d grey levels", kind, worst[kind])
	}
}
