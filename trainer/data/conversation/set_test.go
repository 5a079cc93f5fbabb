package conversation

import (
	"context"
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

const good = ` [
 {"id": "a", "image": "x/1.png", "conversations": [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "a \"cat\" 🙂"}]},
 {"id": 7, "conversations": [{"from": "user", "value": "hi"}, {"from": "assistant", "value": "ho"}, {"from": "human", "value": "more"}]} ,
 {"image": ["1.png", "2.png"], "model": "ignored", "conversations": [{"from": "human", "value": "q"}]}
]
`

func open(t testing.TB, contents string) (*Set, error) {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, "data.json")
	if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path, folder)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	} else if s != nil {
		t.Fatal("a set comes with an error")
	}
	return s, err
}

func TestOpen(t *testing.T) {
	lines := strings.NewReplacer("\n {", "{", "} ,", "}\n", "]},", "]}\n").Replace(strings.Trim(strings.TrimSpace(good), "[]"))
	for name, contents := range map[string]string{"list": good, "lines": lines} {
		s, err := open(t, contents)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.Len() != 3 {
			t.Fatalf("%s: %d entries", name, s.Len())
		}
		var ids []string
		var images []int
		var turns [][]data.Turn
		for i := range 3 {
			x, err := s.Example(i)
			if err != nil {
				t.Fatal(err)
			}
			ids, images, turns = append(ids, x.ID), append(images, len(x.Images)), append(turns, x.Turns)
		}
		if !reflect.DeepEqual(ids, []string{"a", "7", "2"}) || !reflect.DeepEqual(images, []int{1, 0, 2}) {
			t.Errorf("%s: ids %q, images %v", name, ids, images)
		}
		if want := []data.Turn{{Role: data.User, Text: "<image>\nwhat?"}, {Role: data.Assistant, Text: `a "cat" 🙂`}}; !reflect.DeepEqual(turns[0], want) {
			t.Errorf("%s: turns %v", name, turns[0])
		}
		if _, err := s.Example(3); err == nil {
			t.Error("entry 3 of 3")
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for name, c := range map[string]struct{ contents, want string }{
		"empty":        {"", "is empty"},
		"blank":        {" \n ", "is empty"},
		"empty list":   {"[]", "no entries"},
		"no list":      {`"text"`, "entry 0"},
		"truncated":    {good[:200], "entry 1"},
		"unclosed":     {strings.TrimRight(good, " \n]"), "after entry 2"},
		"no comma":     {with("} ,", "} "), "entry 2"},
		"trailing":     {good + "{}", "follows the list"},
		"no turns":     {`[{"id": "z"}]`, `entry 0 (id "z"): conversations`},
		"turns type":   {`[{"id": "z", "conversations": "hello"}]`, "conversations"},
		"value type":   {with(`"ho"`, `5`), "value"},
		"role":         {with(`"gpt"`, `"dog"`), `entry 0 (id "a"): conversations[1].from: "dog"`},
		"order":        {with(`"assistant"`, `"human"`), "want the assistant's turn"},
		"id type":      {with(`"a"`, `[]`), "id: want a string or a number"},
		"image type":   {with(`"x/1.png"`, `5`), "image: want a path"},
		"path up":      {with(`x/1.png`, `../1.png`), "leads out of the image folder"},
		"path through": {with(`x/1.png`, `x/../../1.png`), "leads out of the image folder"},
		"path root":    {with(`x/1.png`, `/etc/passwd`), "leads out of the image folder"},
	} {
		if _, err := open(t, c.contents); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "data.json") {
			t.Errorf("%s: error %v, want one with the file and %q", name, err, c.want)
		}
	}
	if _, err := Open(t.Context(), "missing.json", "."); err == nil {
		t.Error("a missing file opens")
	}
}

func TestSymbolicLinksStayInTheFolder(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret.png")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := open(t, good)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(filepath.Dir(s.path), "1.png")); err != nil {
		t.Skip(err)
	}
	x, err := s.Example(2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Images[0].Decode(); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("a link out of the folder: %v", err)
	}
}

type list []data.Example

func (l list) Len() int                            { return len(l) }
func (l list) Example(i int) (data.Example, error) { return l[i], nil }

func TestWriteAndOpen(t *testing.T) {
	img := image.NewGray(image.Rect(0, 0, 5, 4))
	img.SetGray(3, 2, color.Gray{Y: 200})
	set := list{
		{ID: "one", Images: []data.Picture{picture.Still{Image: img}}, Turns: []data.Turn{{Role: data.User, Text: "<image> q"}, {Role: data.Assistant, Text: "<b>&"}}},
		{ID: "two", Turns: []data.Turn{{Role: data.User, Text: "q"}}},
	}
	folder := filepath.Join(t.TempDir(), "new")
	if err := Write(t.Context(), folder, set); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), filepath.Join(folder, FileName), filepath.Join(folder, ImageFolder))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, want := range set {
		got, err := s.Example(i)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != want.ID || !reflect.DeepEqual(got.Turns, want.Turns) || len(got.Images) != len(want.Images) {
			t.Errorf("example %d: %+v, want %+v", i, got, want)
		}
		for _, p := range got.Images {
			back, err := p.Decode()
			if err != nil || !reflect.DeepEqual(back.(*image.Gray).Pix, img.Pix) {
				t.Errorf("image of example %d: %v, %v", i, back, err)
			}
		}
	}
	if err := Write(t.Context(), filepath.Join(t.TempDir(), "e"), list{}); err == nil {
		t.Error("an empty data set is written")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(canceled, folder, set); err == nil {
		t.Error("a cancelled write succeeds")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"conversations":[{"from":"human","value":"q"}]}` + "\n" + `{"id":1e3,"image":null,"conversations":[{"from":"gpt"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := open(t, string(raw))
		if err != nil {
			return
		}
		for i := range s.Len() {
			if _, err := s.Example(i); err != nil {
				t.Fatalf("entry %d was checked, but: %v", i, err)
			}
		}
	})
}
