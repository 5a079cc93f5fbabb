package fashiongrid

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"ressa/trainer/data"
)

func shipped(t *testing.T, test bool) []Photo {
	t.Helper()
	photos, err := Shipped(context.Background(), test)
	if err != nil {
		t.Fatal(err)
	}
	return photos
}

func TestShippedPhotosAreBalanced(t *testing.T) {
	for _, c := range []struct {
		test bool
		n    int
	}{{false, 12000}, {true, 10000}} {
		photos := shipped(t, c.test)
		var counts [10]int
		for _, p := range photos {
			counts[p.Label]++
		}
		for class, n := range counts {
			if n != c.n/10 {
				t.Errorf("test=%v: %d photos of class %s, want %d", c.test, n, Classes()[class], c.n/10)
			}
		}
	}
}

func TestSplitsShareNoPhoto(t *testing.T) {
	photos := shipped(t, false)
	seen := map[int32]Split{}
	for _, split := range []Split{Train, Validation} {
		g, err := New(photos, split, 1, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range g.byClass {
			for _, i := range list {
				if other, ok := seen[i]; ok {
					t.Fatalf("photo %d is in %s and %s", i, other, split)
				}
				seen[i] = split
			}
		}
	}
	if len(seen) != len(photos) {
		t.Errorf("%d photos in use, want %d", len(seen), len(photos))
	}
	held := 0
	for i, split := range seen {
		if split == Validation {
			held++
		}
		// A part of the collection puts every photo on the same side.
		if half := photos[len(photos)/2:]; int(i) >= len(photos)/2 {
			if p := &half[int(i)-len(photos)/2]; p.held() != (split == Validation) {
				t.Fatalf("photo %d changes sides in a smaller collection", i)
			}
		}
	}
	if share := float64(held) / float64(len(photos)); share < 0.08 || share > 0.12 {
		t.Errorf("%.3f of the photos are held out, want about a tenth", share)
	}
}

func TestExamplesAreAFunctionOfSeedAndIndex(t *testing.T) {
	photos := shipped(t, true)
	a, _ := New(photos, Test, 7, 50)
	b, _ := New(photos, Test, 7, 500)
	other, _ := New(photos, Test, 8, 50)
	same := 0
	for i := range 50 {
		x, err := a.Example(49 - i)
		if err != nil {
			t.Fatal(err)
		}
		y, _ := b.Example(49 - i)
		z, _ := other.Example(49 - i)
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("example %d differs with the length of the set", 49-i)
		}
		if reflect.DeepEqual(x, z) {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d examples do not depend on the seed", same)
	}
	if _, err := a.Example(50); err == nil {
		t.Error("example 50 of 50 exists")
	}
}

// TestAnswersAreRight recomputes every answer from the labels of the photos.
func TestAnswersAreRight(t *testing.T) {
	g, err := New(shipped(t, false), Train, 3, 2000)
	if err != nil {
		t.Fatal(err)
	}
	numbers := []string{"zero", "one", "two", "three", "four"}
	for i := range g.Len() {
		ex, err := g.Example(i)
		if err != nil {
			t.Fatal(err)
		}
		var names [4]string
		for c, p := range ex.Images[0].(picture) {
			names[c] = Classes()[p.Label]
		}
		for q := 0; q < len(ex.Turns); q += 2 {
			words := strings.Fields(strings.TrimPrefix(ex.Turns[q].Text, "<image> "))
			want := ""
			switch words[0] {
			case "describe":
				want = strings.Join(names[:], " ")
			case "what":
				at := 0
				for c, corner := range corners() {
					if corner == words[2]+" "+words[3] {
						at = c
					}
				}
				want = names[at]
			case "how":
				n := 0
				for _, name := range names {
					if name == words[2] {
						n++
					}
				}
				want = numbers[n]
			case "is":
				a, b := words[1], words[len(words)-1]
				left := (names[0] == a || names[2] == a) && (names[1] == b || names[3] == b)
				above := (names[0] == a || names[1] == a) && (names[2] == b || names[3] == b)
				want = "no"
				if words[2] == "left" && left || words[2] == "above" && above {
					want = "yes"
				}
			}
			if got := ex.Turns[q+1].Text; got != want || ex.Turns[q+1].Role != data.Assistant {
				t.Fatalf("grid %v: %q is answered %q, want %q", names, words, got, want)
			}
		}
	}
}

// TestBlindGuessIsPoor bounds what the commonest answer to each wording earns.
func TestBlindGuessIsPoor(t *testing.T) {
	g, err := New(shipped(t, true), Test, 5, 10000)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]map[string]int{}
	for i := range g.Len() {
		ex, err := g.Example(i)
		if err != nil {
			t.Fatal(err)
		}
		if len(ex.Turns) != 2 {
			t.Fatalf("test example has %d turns, want one question", len(ex.Turns))
		}
		key := ex.Kind
		if key == "relation" {
			key = strings.Fields(ex.Turns[0].Text)[3]
		}
		if answers[key] == nil {
			answers[key] = map[string]int{}
		}
		answers[key][ex.Turns[1].Text]++
	}
	right := 0
	for _, byAnswer := range answers {
		best := 0
		for _, n := range byAnswer {
			best = max(best, n)
		}
		right += best
	}
	if share := float64(right) / float64(g.Len()); share > 0.40 {
		t.Errorf("a blind guess is right in %.1f %%, want at most 40: %v", 100*share, answers)
	} else {
		t.Logf("blind guess %.1f %%", 100*share)
	}
}

func TestPictureShowsItsPhotos(t *testing.T) {
	photos := shipped(t, true)
	p := picture{&photos[0], &photos[1], &photos[2], &photos[3]}
	img, err := p.Decode()
	if err != nil {
		t.Fatal(err)
	}
	for c, photo := range p {
		for _, at := range [][2]int{{0, 0}, {13, 9}, {27, 27}} {
			grey, _, _, _ := img.At(c%2*Side+at[0], c/2*Side+at[1]).RGBA()
			if uint8(grey>>8) != photo.Pixels[at[1]*Side+at[0]] {
				t.Fatalf("cell %d at %v: %d, want %d", c, at, grey>>8, photo.Pixels[at[1]*Side+at[0]])
			}
		}
	}
}

func TestReadIDXRefuses(t *testing.T) {
	if _, err := ReadIDX(t.TempDir(), true); err == nil || !strings.Contains(err.Error(), "t10k-images") {
		t.Errorf("error %v, want one that names the file", err)
	}
}
