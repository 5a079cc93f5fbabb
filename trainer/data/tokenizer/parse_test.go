package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const tiny = `{"added_tokens":[{"id":3,"content":"<s>","special":true}],"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`

func TestParseRefuses(t *testing.T) {
	with := func(old, new string) string {
		if !strings.Contains(tiny, old) {
			t.Fatalf("%q is not in the file", old)
		}
		return strings.Replace(tiny, old, new, 1)
	}
	cases := map[string]struct{ file, want string }{
		"no json":          {"{", "not a tokenizer.json"},
		"no model":         {"{}", "model is missing"},
		"unigram":          {with(`"BPE"`, `"Unigram"`), `model.type: "Unigram" is not supported`},
		"dropout":          {with(`"merges"`, `"dropout":0.1,"merges"`), "model.dropout"},
		"suffix":           {with(`"merges"`, `"end_of_word_suffix":"</w>","merges"`), "model.end_of_word_suffix"},
		"unknown field":    {with(`"merges"`, `"surprise":1,"merges"`), "surprise"},
		"merge":            {with(`"a b"`, `"a c"`), `model.merges[0]: "c" is not in`},
		"merge form":       {with(`"a b"`, `["a"]`), "model.merges[0]"},
		"shared id":        {with(`"b":1`, `"b":0`), "share id 0"},
		"negative id":      {with(`"b":1`, `"b":-1`), "outside"},
		"huge id":          {with(`"b":1`, `"b":1999999999`), "outside"},
		"added id taken":   {with(`"id":3`, `"id":2`), `added_tokens[0]: id 2`},
		"added empty":      {with(`<s>`, ``), "added_tokens[0].content"},
		"unk missing":      {with(`"merges"`, `"unk_token":"?","merges"`), "model.unk_token"},
		"normalizer":       {with(`{"added`, `{"normalizer":{"type":"Sequence","normalizers":[{"type":"BertNormalizer"}]},"added`), "normalizer.normalizers[0].type"},
		"pre-tokenizer":    {with(`{"added`, `{"pre_tokenizer":{"type":"BertPreTokenizer"},"added`), "pre_tokenizer.type"},
		"pattern":          {with(`{"added`, `{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"a(?=b)"},"behavior":"Isolated","invert":false},"added`), "pre_tokenizer.pattern.Regex"},
		"empty pattern":    {with(`{"added`, `{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"a*"},"behavior":"Isolated","invert":false},"added`), "matches the empty text"},
		"anchor":           {with(`{"added`, `{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"^a"},"behavior":"Isolated","invert":false},"added`), "anchor"},
		"decoder":          {with(`{"added`, `{"decoder":{"type":"CTC"},"added`), "decoder.type"},
		"post-processor":   {with(`{"added`, `{"post_processor":{"type":"BertProcessing"},"added`), "post_processor.type"},
		"template":         {with(`{"added`, `{"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}]},"added`), "post_processor.single[0]"},
		"template id":      {with(`{"added`, `{"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],"special_tokens":{"x":{"ids":[9]}}},"added`), "names no token"},
		"metaspace scheme": {with(`{"added`, `{"pre_tokenizer":{"type":"Metaspace","replacement":"_","prepend_scheme":"some"},"added`), "prepend_scheme"},
	}
	for name, c := range cases {
		if _, err := Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	if _, err := Load("missing.json"); err == nil {
		t.Error("a missing file loads")
	}
}

func TestTokenID(t *testing.T) {
	k, err := Parse([]byte(tiny))
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int32{"ab": 2, "<s>": 3} {
		if id, ok := k.TokenID(token); !ok || id != want {
			t.Errorf("TokenID(%q) = %d, %v", token, id, ok)
		}
	}
	if _, ok := k.TokenID("c"); ok {
		t.Error("c has an id")
	}
	if k.VocabSize() != 4 {
		t.Errorf("vocabulary of %d", k.VocabSize())
	}
	if ids, err := k.Encode("abba<s>ab", true); err != nil || !slices.Equal(ids, []int32{2, 1, 0, 3, 2}) {
		t.Errorf("%v, %v", ids, err)
	}
	if _, err := k.Encode("a\xff", true); err == nil {
		t.Error("invalid UTF-8 is encoded")
	}
}

func TestSplitBehaviours(t *testing.T) {
	s := &splitter{literal: "-"}
	for behaviour, want := range map[string][]string{ // the example of Hugging Face's documentation
		"Removed":            {"the", "final", "countdown"},
		"Isolated":           {"the", "-", "final", "-", "-", "countdown"},
		"MergedWithPrevious": {"the-", "final-", "-", "countdown"},
		"MergedWithNext":     {"the", "-final", "-", "-countdown"},
		"Contiguous":         {"the", "-", "final", "--", "countdown"},
	} {
		var got []string
		for _, p := range cutAt(s, behaviour)([]piece{{text: "the-final--countdown"}}) {
			got = append(got, p.text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", behaviour, got, want)
		}
	}
}

func TestBytesAndRunesAreOneToOne(t *testing.T) {
	seen := map[rune]bool{}
	for b := range 256 {
		r := byteRune(byte(b))
		if back, ok := runeByte(r); !ok || back != byte(b) || seen[r] {
			t.Errorf("byte %#x → %#x → %#x", b, r, back)
		}
		seen[r] = true
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(tiny), "abba")
	names, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, n := range names {
		raw, err := os.ReadFile(n)
		if err != nil {
			f.Fatal(err)
		}
		if len(raw) < 10000 {
			f.Add(raw, "It's a <image>  word 🙂\n")
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, text string) {
		k, err := Parse(raw)
		if err != nil {
			return
		}
		ids, err := k.Encode(text, true)
		if err != nil {
			return
		}
		for _, id := range ids {
			if id < 0 || int(id) >= k.VocabSize() {
				t.Fatalf("id %d of a vocabulary of %d", id, k.VocabSize())
			}
		}
		k.Decode(ids, true)
	})
}

// Byte-level BPE loses nothing.
func FuzzRoundTrip(f *testing.F) {
	k, err := Load(filepath.Join("testdata", "bytelevel.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", " a  b\n", "naïve 🙂\u0300", "'s 'S 12"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids, err := k.Encode(text, false)
		if err != nil {
			return
		}
		for _, id := range ids {
			if _, ok := k.added.tokens[id]; ok {
				return // <mask> takes the space around it
			}
		}
		if got := k.Decode(ids, false); got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}
