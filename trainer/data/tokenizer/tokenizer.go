package tokenizer

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// maxFile bounds a tokenizer.json; the largest in use are below 40 MB.
const maxFile = 512 << 20

// Tokenizer is immutable and safe for concurrent use.
type Tokenizer struct {
	added      addedTokens
	normalize  func(string) string
	pretoken   func([]piece) []piece
	model      model
	before     []int32 // ids of the post-processor's template before the text
	after      []int32
	decode     func([]string) []string
	tokens     map[int32]string // of the model, by id
	vocabulary int
}

// model turns one piece of pre-tokenized text into ids.
type model interface {
	tokenize(ids []int32, text string) ([]int32, error)
	id(token string) (int32, bool)
}

// Load reads a tokenizer.json.
func Load(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("tokenizer %s: %d bytes are more than the limit of %d", path, info.Size(), maxFile)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", path, err)
	}
	return t, nil
}

// Encode returns the ids of text. With addSpecial, the post-processor's template
// (as a leading <s>) is applied. Special tokens written in the text are
// recognised either way. It fails when text is not UTF-8 or when a word is unknown
// and the model names no unknown token.
func (t *Tokenizer) Encode(text string, addSpecial bool) ([]int32, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("encode: the text is not valid UTF-8")
	}
	var ids []int32
	if addSpecial {
		ids = append(ids, t.before...)
	}
	for _, p := range t.added.split(text, t.normalize) {
		if p.added {
			ids = append(ids, p.id)
			continue
		}
		pieces := []piece{p}
		if t.pretoken != nil {
			pieces = t.pretoken(pieces)
		}
		for _, w := range pieces {
			var err error
			if ids, err = t.model.tokenize(ids, w.text); err != nil {
				return nil, fmt.Errorf("encode: %w", err)
			}
		}
	}
	if addSpecial {
		ids = append(ids, t.after...)
	}
	return ids, nil
}

// Decode returns the text of ids. Ids that name no token are skipped; with
// skipSpecial, special tokens too.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		token, ok := t.Token(id)
		if !ok || skipSpecial && t.added.special[token] {
			continue
		}
		tokens = append(tokens, token)
	}
	if t.decode == nil {
		return strings.Join(tokens, " ")
	}
	return strings.Join(t.decode(tokens), "")
}

// TokenID returns the id of a token as it is written in the file: in LLaMA's
// style a word's token starts with ▁.
func (t *Tokenizer) TokenID(token string) (int32, bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	return t.model.id(token)
}

// Token returns the token of an id as it is written in the file.
func (t *Tokenizer) Token(id int32) (string, bool) {
	if token, ok := t.added.tokens[id]; ok {
		return token, true
	}
	token, ok := t.tokens[id]
	return token, ok
}

// VocabSize returns the highest id plus one: the rows that an embedding needs.
func (t *Tokenizer) VocabSize() int { return t.vocabulary }

// piece is a part of the text on its way through the pipeline.
type piece struct {
	text  string
	first bool // starts where the original text starts
	added bool // matched an added token: id is final
	id    int32
}
