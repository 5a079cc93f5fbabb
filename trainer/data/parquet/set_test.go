package parquet

import (
	"bytes"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ressa/trainer/data"
	"ressa/trainer/data/picture"
)

func open(t testing.TB, name string) *Set {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join("testdata", name), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func user(text string) data.Turn      { return data.Turn{Role: data.User, Text: text} }
func assistant(text string) data.Turn { return data.Turn{Role: data.Assistant, Text: text} }

// The files are the datasets library's own; testdata/golden.py made them and
// printed the sizes and first pixels.
func TestConversations(t *testing.T) {
	s := open(t, "conversations.parquet")
	if s.Len() != 5 {
		t.Fatalf("%d rows", s.Len())
	}
	first := []color.NRGBA{{248, 194, 190, 255}, {70, 166, 228, 255}, {88, 197, 234, 255}, {134, 193, 196, 255}, {125, 114, 53, 255}}
	for _, i := range []int{4, 0, 3, 1, 2, 4} { // in no order: three row groups
		x, err := s.Example(i)
		if err != nil {
			t.Fatal(err)
		}
		n := string(rune('0' + i))
		want := []data.Turn{user("<image>\nwhat is " + n + "? é🙂"), assistant("it is " + n)}
		if i%2 == 1 {
			want = append(want, user("sure?"), assistant("yes"))
		}
		if x.ID != "n"+n || !reflect.DeepEqual(x.Turns, want) || len(x.Images) != 1 {
			t.Fatalf("row %d: %+v", i, x)
		}
		img, err := x.Images[0].Decode()
		if err != nil {
			t.Fatal(err)
		}
		if img.Bounds() != image.Rect(0, 0, 5, 4+i) || color.NRGBAModel.Convert(img.At(0, 0)) != first[i] {
			t.Errorf("row %d: image %v, first pixel %v", i, img.Bounds(), img.At(0, 0))
		}
	}
	if _, err := s.Example(5); err == nil {
		t.Error("row 5 of 5")
	}
}

func TestQuestions(t *testing.T) {
	s := open(t, "questions.parquet")
	for i, want := range []struct {
		images  int
		answers []string
	}{{1, nil}, {0, []string{"a1"}}, {1, []string{"a2", "x"}}, {0, nil}, {1, []string{"a4"}}} {
		x, err := s.Example(i)
		if err != nil {
			t.Fatal(err)
		}
		n := string(rune('0' + i))
		if x.ID != n || !reflect.DeepEqual(x.Turns, []data.Turn{user("q" + n), assistant("a" + n)}) {
			t.Errorf("row %d: %+v", i, x)
		}
		if len(x.Images) != want.images || !reflect.DeepEqual(x.Answers, want.answers) {
			t.Errorf("row %d: %d images, answers %q", i, len(x.Images), x.Answers)
		}
	}
}

func TestMessagesAndListsOfImages(t *testing.T) {
	s := open(t, "messages.parquet")
	for i, images := range []int{2, 0, 1} {
		x, err := s.Example(i)
		if err != nil {
			t.Fatal(err)
		}
		if len(x.Images) != images || !reflect.DeepEqual(x.Turns, []data.Turn{user("hi"), assistant("ho")}) {
			t.Errorf("row %d: %+v", i, x)
		}
		for _, p := range x.Images {
			if _, err := p.Decode(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	truncated := filepath.Join(t.TempDir(), "truncated.parquet")
	raw, err := os.ReadFile("testdata/conversations.parquet")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(truncated, raw[:len(raw)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"testdata/empty.parquet":   "has no rows",
		"testdata/columns.parquet": `found "image", "caption"`,
		"testdata/types.parquet":   `column "question" is a INT64, want a string`,
		"testdata/golden.py":       "parquet",
		"testdata/missing.parquet": "no such file",
		truncated:                  "truncated.parquet",
		t.TempDir():                "has no rows",
	} {
		if s, err := Open(t.Context(), path, ""); err == nil || s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", path, err, want)
		}
	}
	for _, c := range []struct {
		name string
		row  int
		want string
	}{
		{"role.parquet", 0, `conversations[1].from: "dog"`},
		{"binary.parquet", 1, "question is null"},
		{"paths.parquet", 0, "no image folder is given"},
	} {
		if _, err := open(t, c.name).Example(c.row); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	x, err := open(t, "binary.parquet").Example(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Images[0].Decode(); err == nil || !strings.Contains(err.Error(), "binary.parquet row 0") {
		t.Errorf("a broken image: %v", err)
	}
}

func TestImagePathsAreConfined(t *testing.T) {
	s, err := Open(t.Context(), "testdata/paths.parquet", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if x, err := s.Example(0); err != nil || len(x.Images) != 1 {
		t.Errorf("a path inside: %+v, %v", x, err)
	}
	if _, err := s.Example(1); err == nil || !strings.Contains(err.Error(), "leads out") {
		t.Errorf("a path outside: %v", err)
	}
}

type list []data.Example

func (l list) Len() int                            { return len(l) }
func (l list) Example(i int) (data.Example, error) { return l[i], nil }

func TestWriteAndOpenFolder(t *testing.T) {
	var set list
	for i := range 250 { // three row groups
		img := image.NewGray(image.Rect(0, 0, 3, 2))
		img.Pix[4] = uint8(i)
		x := data.Example{ID: "e" + string(rune('a'+i%26)), Turns: []data.Turn{user("<image> q"), assistant("a")}}
		if i%7 != 0 {
			x.Images = []data.Picture{picture.Still{Image: img}}
		}
		set = append(set, x)
	}
	folder := t.TempDir()
	for name, part := range map[string]list{"train-0.parquet": set[:120], "train-1.parquet": set[120:]} {
		if err := Write(t.Context(), filepath.Join(folder, name), part); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), folder, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Len() != len(set) {
		t.Fatalf("%d rows", s.Len())
	}
	for i := range set {
		i = i * 7 % len(set)
		got, err := s.Example(i)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != set[i].ID || !reflect.DeepEqual(got.Turns, set[i].Turns) || len(got.Images) != len(set[i].Images) {
			t.Fatalf("row %d: %+v, want %+v", i, got, set[i])
		}
		for _, p := range got.Images {
			img, err := p.Decode()
			if err != nil || img.(*image.Gray).Pix[4] != uint8(i) {
				t.Fatalf("image of row %d: %v, %v", i, img, err)
			}
		}
	}
	two := list{{Turns: []data.Turn{user("q")}, Images: make([]data.Picture, 2)}}
	for want, bad := range map[string]list{"is empty": {}, "2 images": two} {
		path := filepath.Join(t.TempDir(), "bad.parquet")
		if err := Write(t.Context(), path, bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("half a file is left")
		}
	}
}

// A damaged file gives an error, never a panic.
func FuzzRows(f *testing.F) {
	names, err := filepath.Glob("testdata/*.parquet")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := &Set{}
		if err := s.add("fuzz", bytes.NewReader(raw)); err != nil {
			return
		}
		for i := range min(s.Len(), 20) {
			_, _ = s.Example(i)
		}
	})
}

// Every byte may be wrong: an error or another value is fine, a panic or a reader
// that never ends is not.
func TestDamagedBytes(t *testing.T) {
	for _, name := range []string{"conversations.parquet", "questions.parquet", "binary.parquet"} {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(raw); at += 7 {
			damaged := bytes.Clone(raw)
			damaged[at] ^= byte(1 + at%255)
			s := &Set{}
			if err := s.add("damaged", bytes.NewReader(damaged)); err != nil {
				continue
			}
			for i := range min(s.Len(), 20) {
				_, _ = s.Example(i)
			}
		}
	}
}
