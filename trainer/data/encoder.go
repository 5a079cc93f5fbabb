package data

import (
	"fmt"
	"image"
)

// Tokenizer is what the encoder needs of a tokenizer.
type Tokenizer interface {
	// Encode returns the ids of text; addSpecial adds what every sequence starts
	// with. Special tokens in the text are recognised.
	Encode(text string, addSpecial bool) ([]int32, error)
	// TokenID returns the id of a token.
	TokenID(token string) (int32, bool)
}

// ImageProcessor turns an image into the pixels of the vision tower.
type ImageProcessor interface {
	// Process returns CHW pixels [3·H·W], the same size for every image.
	Process(image.Image) ([]float32, error)
}

// EncoderConfig says how examples become samples.
type EncoderConfig struct {
	Tokenizer  Tokenizer
	Images     ImageProcessor
	Template   Template
	ImageToken int32 // id of <image>: image_token_index of the model
	// TokensPerImage is the number of features of one image: (size/patch)² for a
	// CLIP tower without its class token.
	TokensPerImage int
	// MaxLength cuts longer samples at the end; 0 means no limit.
	MaxLength int
}

// Encoder turns examples into samples. It is immutable, and safe for concurrent
// use if its tokenizer and image processor are.
type Encoder struct {
	config EncoderConfig
	blank  bool // samples have no pixels
}

// NewEncoder checks that the parts fit together: the tokenizer must know <image>
// by the model's id.
func NewEncoder(c EncoderConfig) (*Encoder, error) {
	id, ok := c.Tokenizer.TokenID(Placeholder)
	switch {
	case !ok:
		return nil, fmt.Errorf("encoder: the tokenizer has no token %s", Placeholder)
	case id != c.ImageToken:
		return nil, fmt.Errorf("encoder: %s has id %d in the tokenizer, but the model's image_token_index is %d", Placeholder, id, c.ImageToken)
	case c.TokensPerImage < 1:
		return nil, fmt.Errorf("encoder: %d tokens per image, want at least 1", c.TokensPerImage)
	case c.MaxLength < 0:
		return nil, fmt.Errorf("encoder: maximum length %d is negative", c.MaxLength)
	}
	return &Encoder{config: c}, nil
}

// WithoutPixels returns an encoder that reads no image: Pixels of its samples has
// a nil entry for each. It is for who computes with the text alone.
func (e *Encoder) WithoutPixels() *Encoder { return &Encoder{config: e.config, blank: true} }

// Encode returns the sample of a whole conversation. Labels cover the answers of
// the assistant (with what the template puts around them) and nothing else.
func (e *Encoder) Encode(x Example) (Sample, error) { return e.encode(x, true) }

// Prompt returns the sample up to where the last answer begins, for generation
// and scoring. It has no labels.
func (e *Encoder) Prompt(x Example) (Sample, error) {
	s, err := e.encode(x, false)
	for i := range s.Labels {
		s.Labels[i] = Ignore
	}
	return s, err
}

func (e *Encoder) encode(x Example, last bool) (Sample, error) {
	s, err := e.text(x, last)
	if err != nil {
		return Sample{}, fmt.Errorf("example %q: %w", x.ID, err)
	}
	if e.blank {
		s.Pixels = make([][]float32, len(x.Images))
		return s, nil
	}
	for _, p := range x.Images {
		img, err := p.Decode()
		if err != nil {
			return Sample{}, fmt.Errorf("example %q: %w", x.ID, err)
		}
		pixels, err := e.config.Images.Process(img)
		if err != nil {
			return Sample{}, fmt.Errorf("example %q: %w", x.ID, err)
		}
		s.Pixels = append(s.Pixels, pixels)
	}
	return s, nil
}

// text encodes everything but the pixels.
func (e *Encoder) text(x Example, last bool) (Sample, error) {
	if err := checkTurns(x.Turns, last); err != nil {
		return Sample{}, err
	}
	r := e.config.Template.render(x.Turns, len(x.Images), last)
	ids, err := e.config.Tokenizer.Encode(r.text, true)
	if err != nil {
		return Sample{}, err
	}
	learned := make([]bool, len(ids))
	for _, a := range r.answers {
		from, err := e.shared(r.text[:a[0]], ids)
		if err != nil {
			return Sample{}, err
		}
		to, err := e.shared(r.text[:a[1]], ids)
		if err != nil {
			return Sample{}, err
		}
		for i := from; i < to; i++ {
			learned[i] = true
		}
	}
	s, err := e.expand(ids, learned, len(x.Images))
	if err != nil || e.config.MaxLength == 0 || len(s.Tokens) <= e.config.MaxLength {
		return s, err
	}
	n := e.config.MaxLength
	if rows := len(s.ImageRows); rows > 0 && int(s.ImageRows[rows-1]) >= n {
		return Sample{}, fmt.Errorf("%d tokens, and an image stands beyond the maximum length of %d", len(s.Tokens), n)
	}
	s.Tokens, s.Labels = s.Tokens[:n], s.Labels[:n]
	s.Labels[n-1] = Ignore
	return s, nil
}

// shared returns how many leading ids the text before a boundary has in common
// with the whole. Encoding the parts by themselves would not do: tokenizers treat
// the start of a text in a special way, and merges may span the boundary.
func (e *Encoder) shared(text string, whole []int32) (int, error) {
	ids, err := e.config.Tokenizer.Encode(text, true)
	if err != nil {
		return 0, err
	}
	n := 0
	for n < min(len(ids), len(whole)) && ids[n] == whole[n] {
		n++
	}
	return n, nil
}

// expand repeats each image token and shifts the labels by one.
func (e *Encoder) expand(ids []int32, learned []bool, images int) (Sample, error) {
	var s Sample
	found := 0
	for i, id := range ids {
		if id != e.config.ImageToken {
			s.push(id, learned[i])
			continue
		}
		found++
		if found > images {
			continue // counted for the message
		}
		for range e.config.TokensPerImage {
			s.ImageRows = append(s.ImageRows, int32(len(s.Tokens)))
			s.push(id, false)
		}
	}
	if found != images {
		return Sample{}, fmt.Errorf("%d images, but %s stands %d times in the text", images, Placeholder, found)
	}
	return s, nil
}

// push appends a token, and where it is learned makes it the label of the
// position before.
func (s *Sample) push(id int32, learned bool) {
	if last := len(s.Labels) - 1; learned && last >= 0 {
		s.Labels[last] = id
	}
	s.Tokens = append(s.Tokens, id)
	s.Labels = append(s.Labels, Ignore)
}

// checkTurns verifies that turns alternate from the user on, and that an answer
// is there to be learned where one is asked for.
func checkTurns(turns []Turn, answered bool) error {
	for i, t := range turns {
		if want := Role(i % 2); t.Role != want {
			return fmt.Errorf("turn %d is the %v's, want the %v's", i, t.Role, want)
		}
	}
	if len(turns) == 0 || answered && len(turns) < 2 {
		return fmt.Errorf("%d turns, want a question and an answer", len(turns))
	}
	return nil
}
