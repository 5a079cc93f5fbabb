package data

import (
	"errors"
	"image"
	"slices"
	"strings"
	"testing"

	"ressa/trainer/data/tokenizer"
)

type plain struct{}

func (plain) Process(m image.Image) ([]float32, error) {
	return []float32{float32(m.Bounds().Dx())}, nil
}

type still int

func (s still) Decode() (image.Image, error) {
	if s < 0 {
		return nil, errors.New("image 7.png: broken")
	}
	return image.NewGray(image.Rect(0, 0, int(s), 1)), nil
}

func encoder(t *testing.T, file string, template Template, change func(*EncoderConfig)) (*Encoder, *tokenizer.Tokenizer) {
	t.Helper()
	k, err := tokenizer.Load("tokenizer/testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := k.TokenID(Placeholder)
	c := EncoderConfig{Tokenizer: k, Images: plain{}, Template: template, ImageToken: id, TokensPerImage: 3}
	if change != nil {
		change(&c)
	}
	e, err := NewEncoder(c)
	if err != nil {
		t.Fatal(err)
	}
	return e, k
}

func conversation() Example {
	return Example{ID: "e1", Images: []Picture{still(5)}, Turns: []Turn{
		{User, "<image>\nwhat is this?"}, {Assistant, "a shirt"}, {User, "how many?"}, {Assistant, "3 dogs."},
	}}
}

// learned returns the text of the labels, each run on its own.
func learned(s Sample, k *tokenizer.Tokenizer) []string {
	var runs []string
	var run []int32
	for i, l := range s.Labels {
		if l >= 0 {
			if s.Tokens[i+1] != l {
				return []string{"label is not the next token"}
			}
			run = append(run, l)
		}
		if (l < 0 || i == len(s.Labels)-1) && run != nil {
			runs = append(runs, k.Decode(run, false))
			run = nil
		}
	}
	return runs
}

func TestEncodeConversation(t *testing.T) {
	for _, file := range []string{"llama.json", "bytelevel.json", "llama3.json", "smol.json"} {
		e, k := encoder(t, file, LLaVA15(), nil)
		s, err := e.Encode(conversation())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(k.Decode(s.Tokens, false), "<image><image><image>", "<image>")
		if want := "USER: <image>\nwhat is this? ASSISTANT: a shirt</s>USER: how many? ASSISTANT: 3 dogs.</s>"; !strings.HasSuffix(text, want) {
			// LLaMA's decoder writes a space after a special token.
			if strings.ReplaceAll(text, " ", "") != "<s>"+strings.ReplaceAll(want, " ", "") {
				t.Errorf("%s: text %q", file, text)
			}
		}
		var got []string
		for _, run := range learned(s, k) {
			got = append(got, strings.TrimLeft(run, " "))
		}
		if want := []string{"a shirt</s>", "3 dogs.</s>"}; !slices.Equal(got, want) {
			t.Errorf("%s: learned %q, want %q", file, got, want)
		}
		if len(s.ImageRows) != 3 || s.ImageRows[2] != s.ImageRows[0]+2 || len(s.Pixels) != 1 || s.Pixels[0][0] != 5 {
			t.Errorf("%s: image rows %v, pixels %v", file, s.ImageRows, s.Pixels)
		}
		for _, r := range s.ImageRows {
			if id, _ := k.TokenID(Placeholder); s.Tokens[r] != id {
				t.Errorf("%s: row %d holds %d", file, r, s.Tokens[r])
			}
		}
		p, err := e.Prompt(conversation())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.Tokens, s.Tokens[:len(p.Tokens)]) || learned(p, k) != nil {
			t.Errorf("%s: the prompt is no prefix, or has labels", file)
		}
		if got := strings.TrimLeft(k.Decode(s.Tokens[len(p.Tokens):], false), " "); got != "3 dogs.</s>" {
			t.Errorf("%s: after the prompt comes %q", file, got)
		}
	}
}

func TestTerseAndImplicitPlaceholder(t *testing.T) {
	e, k := encoder(t, "wordlevel.json", Terse(), nil)
	x := Example{Images: []Picture{still(5)}, Turns: []Turn{{User, "how many dog"}, {Assistant, "3"}}}
	s, err := e.Encode(x)
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Decode(s.Tokens, false); got != "<s> <image> <image> <image> how many dog 3 </s>" {
		t.Errorf("text %q", got)
	}
	if got := learned(s, k); !slices.Equal(got, []string{"3 </s>"}) {
		t.Errorf("learned %q", got)
	}
	x.Turns = x.Turns[:1] // a question without an answer can be asked, not learned
	if p, err := e.Prompt(x); err != nil || len(p.Tokens) != len(s.Tokens)-2 {
		t.Errorf("prompt %v, %v", p.Tokens, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	e, k := encoder(t, "llama.json", LLaVA15(), nil)
	with := func(change func(*Example)) Example {
		x := conversation()
		change(&x)
		return x
	}
	for name, c := range map[string]struct {
		x    Example
		want string
	}{
		"no image":     {with(func(x *Example) { x.Images = nil }), "0 images, but <image> stands 1 times"},
		"two images":   {with(func(x *Example) { x.Images = append(x.Images, still(1)) }), "2 images, but <image> stands 1 times"},
		"broken image": {with(func(x *Example) { x.Images[0] = still(-1) }), "7.png"},
		"order":        {with(func(x *Example) { x.Turns = x.Turns[1:] }), "turn 0 is the assistant's"},
		"no answer":    {with(func(x *Example) { x.Turns = x.Turns[:1] }), "1 turns"},
		"empty":        {with(func(x *Example) { x.Turns = nil }), "0 turns"},
	} {
		if _, err := e.Encode(c.x); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"e1"`) {
			t.Errorf("%s: error %v, want one with the example and %q", name, err, c.want)
		}
	}
	for want, c := range map[string]EncoderConfig{
		"image_token_index is 5": {Tokenizer: k, ImageToken: 5, TokensPerImage: 1},
		"0 tokens per image":     {Tokenizer: k, ImageToken: e.config.ImageToken},
	} {
		if _, err := NewEncoder(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestMaxLength(t *testing.T) {
	full, _ := encoder(t, "llama.json", LLaVA15(), nil)
	whole, err := full.Encode(conversation())
	if err != nil {
		t.Fatal(err)
	}
	n := len(whole.Tokens) - 3
	e, _ := encoder(t, "llama.json", LLaVA15(), func(c *EncoderConfig) { c.MaxLength = n })
	s, err := e.Encode(conversation())
	if err != nil || !slices.Equal(s.Tokens, whole.Tokens[:n]) || s.Labels[n-1] != Ignore || !slices.Equal(s.Labels[:n-1], whole.Labels[:n-1]) {
		t.Errorf("cut to %d: %v, %v", n, s, err)
	}
	e, _ = encoder(t, "llama.json", LLaVA15(), func(c *EncoderConfig) { c.MaxLength = int(whole.ImageRows[2]) })
	if _, err := e.Encode(conversation()); err == nil || !strings.Contains(err.Error(), "beyond the maximum length") {
		t.Errorf("an image is cut: %v", err)
	}
}

// An encoder without pixels counts images and gives the same text.
func TestWithoutPixels(t *testing.T) {
	e, _ := encoder(t, "llama.json", LLaVA15(), nil)
	x := conversation()
	x.Images = []Picture{nil} // would panic where it is read
	s, err := e.WithoutPixels().Encode(x)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Pixels) != 1 || s.Pixels[0] != nil || len(s.ImageRows) == 0 {
		t.Fatalf("pixels %v, image rows %v", s.Pixels, s.ImageRows)
	}
	b, err := Collate([]Sample{s, s}, 0)
	if err != nil || b.Images != 2 || len(b.Pixels) != 0 {
		t.Fatalf("batch of %d images with %d pixels, %v", b.Images, len(b.Pixels), err)
	}
	whole := s
	whole.Pixels = [][]float32{{1}}
	if _, err := Collate([]Sample{s, whole}, 0); err == nil {
		t.Error("a batch took one image with pixels and one without")
	}
}
