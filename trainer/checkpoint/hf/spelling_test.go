package hf

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// golden returns, for every spelling, the key of each module's tensor as
// transformers writes it; testdata/make_golden.py made it.
func golden(t *testing.T) map[Spelling]map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/spellings.json")
	if err != nil {
		t.Fatal(err)
	}
	var byName map[string]map[string]string
	if err := json.Unmarshal(text, &byName); err != nil {
		t.Fatal(err)
	}
	out := map[Spelling]map[string]string{}
	for _, original := range []bool{false, true} {
		for _, visionModel := range []bool{false, true} {
			keys := byName[fmt.Sprintf("original=%v vision_model=%v", original, visionModel)]
			if len(keys) == 0 {
				t.Fatal("a spelling is missing from spellings.json")
			}
			out[Spelling{original, visionModel}] = keys
		}
	}
	return out
}

func TestSpellingsOfTransformers(t *testing.T) {
	for s, keys := range golden(t) {
		var all []string
		for module, key := range keys {
			all = append(all, key)
			if got := Canonical(key); got != module {
				t.Errorf("Canonical(%q) = %q, want %q", key, got, module)
			}
			if got := s.Spell(module); got != key {
				t.Errorf("%v: Spell(%q) = %q, want %q", s, module, got, key)
			}
		}
		if got, err := SpellingOf(all); err != nil || got != s {
			t.Errorf("SpellingOf = %v, %v, want %v", got, err, s)
		}
	}
}

func TestOtherKeysStay(t *testing.T) {
	for _, key := range []string{"visual.blocks.0.attn.qkv.weight", "model.layers.0.mlp.up_proj.weight", "model.text_model.norm.weight", ""} {
		if got := Canonical(key); got != key {
			t.Errorf("Canonical(%q) = %q", key, got)
		}
	}
}

func TestMixedSpellingsAreRefused(t *testing.T) {
	cases := [][2]string{
		{"language_model.lm_head.weight", "model.vision_tower.encoder.x"},
		{"vision_tower.encoder.x", "vision_tower.vision_model.encoder.y"},
		{"model.multi_modal_projector.linear_1.bias", "multi_modal_projector.linear_1.weight"},
		{"model.vision_tower.vision_model.encoder.y", "model.vision_tower.encoder.x"},
	}
	for _, keys := range cases {
		_, err := SpellingOf(keys[:])
		if err == nil || !strings.Contains(err.Error(), keys[0]) || !strings.Contains(err.Error(), keys[1]) {
			t.Errorf("%q: error %v, want both keys in it", keys, err)
		}
	}
}

func FuzzSpelling(f *testing.F) {
	for _, key := range []string{"language_model.model.layers.0.x", "vision_tower.vision_model.x", "model.vision_tower.vision_model.vision_model.x", "lm_head.weight", "language_model.lm_head.weight"} {
		f.Add(key, true, true)
		f.Add(key, true, false)
	}
	f.Fuzz(func(t *testing.T, key string, original, visionModel bool) {
		canonical := Canonical(key)
		if strings.HasPrefix(canonical, VisionPrefix+visionModelKey) {
			return // vision_model twice: not a key of any version
		}
		if again := Canonical(canonical); again != canonical {
			t.Fatalf("Canonical(%q) = %q, and again %q", key, canonical, again)
		}
		if got := Canonical(Spelling{original, visionModel}.Spell(canonical)); got != canonical {
			t.Fatalf("%q spelt and canonical again is %q", canonical, got)
		}
	})
}
