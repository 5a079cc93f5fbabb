package data

import (
	"fmt"
	"image"
	"reflect"
	"strings"
	"testing"
)

// words is a tokenizer of whole words: its ids count from 10 in order of first use.
type words struct{ ids map[string]int32 }

func (w words) Encode(text string, special bool) ([]int32, error) {
	var out []int32
	if special {
		out = append(out, 1)
	}
	for _, f := range strings.Fields(text) {
		if f == "bad" {
			return nil, fmt.Errorf("cannot encode %q", f)
		}
		if _, ok := w.ids[f]; !ok {
			w.ids[f] = int32(10 + len(w.ids))
		}
		out = append(out, w.ids[f])
	}
	return out, nil
}

type grey struct{}

func (grey) Process(image.Image) ([]float32, error) { return []float32{1, 2, 3}, nil }

type picture struct{}

func (picture) Decode() (image.Image, error) { return image.NewGray(image.Rect(0, 0, 1, 1)), nil }

func encoder() *Encoder {
	t, _ := NewTemplate("plain")
	return &Encoder{Tokenizer: words{map[string]int32{}}, Images: grey{}, Template: t, ImageToken: 4, FeaturesPerImage: 2, EOS: 2, Pad: 3, MaxLength: 64}
}

func conversation() Example {
	return Example{ID: "x", Images: []Picture{picture{}}, Turns: []Turn{
		{User, "<image> what is it"}, {Assistant, "a bag"}, {User, "where"}, {Assistant, "left"}}}
}

func TestSampleLabelsAnswersOnly(t *testing.T) {
	s, err := encoder().Sample(conversation())
	if err != nil {
		t.Fatal(err)
	}
	want := Sample{
		//             bos img img what is  it  a   bag eos where left eos
		Tokens:    []int32{1, 4, 4, 10, 11, 12, 13, 14, 2, 15, 16, 2},
		Labels:    []int32{-1, -1, -1, -1, -1, 13, 14, 2, -1, 16, 2, -1},
		Pixels:    [][]float32{{1, 2, 3}},
		ImageRows: []int32{1, 2},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}

func TestPromptEndsWithTheLastQuestion(t *testing.T) {
	s, answer, err := encoder().Prompt(conversation())
	if err != nil {
		t.Fatal(err)
	}
	if answer != "left" || len(s.Tokens) != 10 {
		t.Errorf("answer %q after %d tokens, want left after 10", answer, len(s.Tokens))
	}
	for i, y := range s.Labels {
		if y != Ignore {
			t.Errorf("position %d has label %d", i, y)
		}
	}
}

func TestLongConversationsLoseTurnsFromTheEnd(t *testing.T) {
	e := encoder()
	e.MaxLength = 10
	s, err := e.Sample(conversation())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Tokens) != 9 || s.Labels[8] != Ignore {
		t.Errorf("%d tokens with last label %d, want the first pair alone", len(s.Tokens), s.Labels[8])
	}
}

func TestEncoderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Example, *Encoder)
		want   string
	}{
		"too long":       {func(_ *Example, e *Encoder) { e.MaxLength = 5 }, "want at most 5"},
		"order":          {func(x *Example, _ *Encoder) { x.Turns = x.Turns[1:] }, "out of order"},
		"no placeholder": {func(x *Example, _ *Encoder) { x.Turns[0].Text = "what" }, "0 placeholders <image> for 1 images"},
		"in an answer":   {func(x *Example, _ *Encoder) { x.Turns[1].Text = "<image>" }, "in an answer"},
		"tokenizer":      {func(x *Example, _ *Encoder) { x.Turns[1].Text = "bad" }, "example x: cannot encode"},
		"nothing":        {func(x *Example, _ *Encoder) { x.Turns = nil }, "no text"},
	} {
		x, e := conversation(), encoder()
		c.change(&x, e)
		if _, err := e.Sample(x); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	if _, _, err := encoder().Prompt(Example{Turns: []Turn{{User, "q"}}}); err == nil {
		t.Error("a prompt without an answer to compare with was accepted")
	}
	if _, err := NewTemplate("chatml"); err == nil {
		t.Error("unknown template was accepted")
	}
}
