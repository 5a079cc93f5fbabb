package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

type golden struct {
	File  string
	Size  int
	Cases []struct {
		Text             string
		IDs, Plain       []int32
		Decoded, Skipped string
	}
	Loose []struct {
		IDs     []int32
		Decoded string
	}
}

func readGolden(t testing.TB) []golden {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []golden
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// The ids and texts are those of the Hugging Face library; testdata/golden.py
// made them.
func TestGolden(t *testing.T) {
	for _, g := range readGolden(t) {
		t.Run(g.File, func(t *testing.T) {
			k, err := Load(filepath.Join("testdata", g.File))
			if err != nil {
				t.Fatal(err)
			}
			if k.VocabSize() != g.Size {
				t.Errorf("vocabulary of %d, want %d", k.VocabSize(), g.Size)
			}
			for _, c := range g.Cases {
				for special, want := range map[bool][]int32{true: c.IDs, false: c.Plain} {
					if got, err := k.Encode(c.Text, special); err != nil || !slices.Equal(got, want) {
						t.Errorf("Encode(%q, %v) = %v, %v, want %v", c.Text, special, got, err, want)
					}
				}
				if got := k.Decode(c.IDs, false); got != c.Decoded {
					t.Errorf("Decode(%v) = %q, want %q", c.IDs, got, c.Decoded)
				}
				if got := k.Decode(c.IDs, true); got != c.Skipped {
					t.Errorf("Decode(%v) without specials = %q, want %q", c.IDs, got, c.Skipped)
				}
			}
			for _, c := range g.Loose {
				if got := k.Decode(c.IDs, false); got != c.Decoded {
					t.Errorf("Decode(%v) = %q, want %q", c.IDs, got, c.Decoded)
				}
			}
		})
	}
}
