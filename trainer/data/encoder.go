package data

import (
	"fmt"
	"image"
	"strings"
)

// ImagePlaceholder stands in a user's text for an image.
const ImagePlaceholder = "<image>"

// Tokenizer turns text into token ids. Package tokenizer implements it.
type Tokenizer interface {
	// Encode returns the ids of text, with the model's own special tokens around
	// it where addSpecial is set.
	Encode(text string, addSpecial bool) ([]int32, error)
}

// ImageProcessor turns a picture into the pixels a vision tower reads: CHW,
// normalised. It is safe for concurrent use.
type ImageProcessor interface {
	Process(img image.Image) ([]float32, error)
}

// Encoder turns examples into samples of one model.
type Encoder struct {
	Tokenizer Tokenizer
	Images    ImageProcessor
	Template  Template
	// ImageToken is repeated FeaturesPerImage times for each image.
	ImageToken       int32
	FeaturesPerImage int
	EOS              int32 // ends every answer
	Pad              int32
	// MaxLength bounds a sample in tokens; a longer conversation loses turns from
	// its end, and one whose first answer does not fit is an error.
	MaxLength int
}

// Sample encodes a conversation for training: the answers and the
// end-of-sequence token after each are labelled.
func (e *Encoder) Sample(ex Example) (Sample, error) {
	return e.encode(ex, true)
}

// Prompt encodes a conversation up to its last question, for generation. It has
// no labels. answer is what the data set says.
func (e *Encoder) Prompt(ex Example) (s Sample, answer string, err error) {
	n := len(ex.Turns)
	if n < 2 || ex.Turns[n-1].Role != Assistant {
		return Sample{}, "", fmt.Errorf("example %s: has no answer to compare with", ex.ID)
	}
	answer = ex.Turns[n-1].Text
	ex.Turns = ex.Turns[:n-1]
	s, err = e.encode(ex, false)
	return s, answer, err
}

func (e *Encoder) encode(ex Example, labelled bool) (Sample, error) {
	w := &sampleWriter{encoder: e, id: ex.ID}
	if err := w.text(e.Template.System, true, false); err != nil {
		return Sample{}, err
	}
	for i := 0; i < len(ex.Turns); i += 2 {
		mark := len(w.tokens)
		if err := w.pair(ex.Turns, i); err != nil {
			return Sample{}, err
		}
		if len(w.tokens) > e.MaxLength {
			if i == 0 || !labelled {
				return Sample{}, fmt.Errorf("example %s: %d tokens, want at most %d", ex.ID, len(w.tokens), e.MaxLength)
			}
			w.tokens, w.answer = w.tokens[:mark], w.answer[:mark]
			break
		}
	}
	s := Sample{Tokens: w.tokens, Labels: make([]int32, len(w.tokens)), ImageRows: w.rows}
	if len(w.tokens) == 0 {
		return Sample{}, fmt.Errorf("example %s: has no text", ex.ID)
	}
	for t := range s.Labels {
		s.Labels[t] = Ignore
		if labelled && t+1 < len(w.tokens) && w.answer[t+1] {
			s.Labels[t] = w.tokens[t+1]
		}
	}
	if w.images != len(ex.Images) {
		return Sample{}, fmt.Errorf("example %s: %d placeholders %s for %d images", ex.ID, w.images, ImagePlaceholder, len(ex.Images))
	}
	for _, pic := range ex.Images {
		img, err := pic.Decode()
		if err != nil {
			return Sample{}, fmt.Errorf("example %s: %w", ex.ID, err)
		}
		pixels, err := e.Images.Process(img)
		if err != nil {
			return Sample{}, fmt.Errorf("example %s: %w", ex.ID, err)
		}
		s.Pixels = append(s.Pixels, pixels)
	}
	return s, nil
}

// sampleWriter collects the tokens of one sample.
type sampleWriter struct {
	encoder *Encoder
	id      string
	tokens  []int32
	answer  []bool // by token: part of an answer
	rows    []int32
	images  int
}

// pair appends a question and, if it is there, its answer.
func (w *sampleWriter) pair(turns []Turn, i int) error {
	t := w.encoder.Template
	if turns[i].Role != User || i+1 < len(turns) && turns[i+1].Role != Assistant {
		return fmt.Errorf("example %s: turn %d is out of order, want user and assistant in turn", w.id, i)
	}
	question := t.UserPrefix + turns[i].Text + t.AssistantPrefix
	if i > 0 {
		question = t.PairSeparator + question
	}
	if err := w.text(question, len(w.tokens) == 0, false); err != nil {
		return err
	}
	if i+1 >= len(turns) {
		return nil
	}
	if err := w.text(t.AnswerSeparator+turns[i+1].Text, false, true); err != nil {
		return err
	}
	w.tokens, w.answer = append(w.tokens, w.encoder.EOS), append(w.answer, true)
	return nil
}

// text appends a piece of text, expanding placeholders. first asks for the
// tokenizer's own special tokens.
func (w *sampleWriter) text(s string, first, answer bool) error {
	if s == "" {
		return nil
	}
	for n, part := range strings.Split(s, ImagePlaceholder) {
		if n > 0 {
			if answer {
				return fmt.Errorf("example %s: placeholder %s in an answer", w.id, ImagePlaceholder)
			}
			w.image()
		}
		if part == "" && !(first && n == 0) {
			continue
		}
		ids, err := w.encoder.Tokenizer.Encode(part, first && n == 0)
		if err != nil {
			return fmt.Errorf("example %s: %w", w.id, err)
		}
		for _, id := range ids {
			w.tokens, w.answer = append(w.tokens, id), append(w.answer, answer)
		}
	}
	return nil
}

func (w *sampleWriter) image() {
	w.images++
	for range w.encoder.FeaturesPerImage {
		w.rows = append(w.rows, int32(len(w.tokens)))
		w.tokens, w.answer = append(w.tokens, w.encoder.ImageToken), append(w.answer, false)
	}
}
