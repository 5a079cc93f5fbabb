package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxID bounds ids, so that a lying file cannot ask for a huge embedding.
const maxID = 1 << 24

type file struct {
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// Parse reads the contents of a tokenizer.json.
func Parse(raw []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	t := &Tokenizer{}
	var err error
	var vocab map[string]int32
	if t.model, vocab, err = parseModel(f.Model); err != nil {
		return nil, err
	}
	t.tokens = make(map[int32]string, len(vocab))
	for token, id := range vocab {
		if id < 0 || id > maxID {
			return nil, fmt.Errorf("model.vocab: id %d of %q is outside 0…%d", id, token, maxID)
		}
		if other, ok := t.tokens[id]; ok {
			return nil, fmt.Errorf("model.vocab: %q and %q share id %d", min(token, other), max(token, other), id)
		}
		t.tokens[id] = token
		t.vocabulary = max(t.vocabulary, int(id)+1)
	}
	if t.normalize, err = parseNormalizer(f.Normalizer, "normalizer"); err != nil {
		return nil, err
	}
	if t.pretoken, err = parsePreTokenizer(f.PreTokenizer, "pre_tokenizer"); err != nil {
		return nil, err
	}
	if t.decode, err = parseDecoder(f.Decoder, "decoder"); err != nil {
		return nil, err
	}
	if t.before, t.after, err = parsePostProcessor(f.PostProcessor, "post_processor"); err != nil {
		return nil, err
	}
	if t.added, err = newAddedTokens(f.AddedTokens, t.normalize); err != nil {
		return nil, err
	}
	for i, a := range f.AddedTokens {
		if id, ok := vocab[a.Content]; ok && id != a.ID {
			return nil, fmt.Errorf("added_tokens[%d]: %q has id %d here and %d in model.vocab", i, a.Content, a.ID, id)
		}
		if token, ok := t.tokens[a.ID]; ok && token != a.Content {
			return nil, fmt.Errorf("added_tokens[%d]: id %d of %q belongs to %q in model.vocab", i, a.ID, a.Content, token)
		}
		t.vocabulary = max(t.vocabulary, int(a.ID)+1)
	}
	for _, id := range append(append([]int32{}, t.before...), t.after...) {
		if _, ok := t.Token(id); !ok {
			return nil, fmt.Errorf("post_processor: id %d names no token", id)
		}
	}
	return t, nil
}

// absent says whether a component is missing or null.
func absent(raw json.RawMessage) bool {
	return len(raw) == 0 || string(bytes.TrimSpace(raw)) == "null"
}

// kind returns the "type" of a component.
func kind(raw json.RawMessage, field string) (string, error) {
	var c struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	return c.Type, nil
}

// strict decodes a component and refuses fields that are not known: they would
// change the ids.
func strict(raw json.RawMessage, field string, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

func unsupported(field, kind, known string) error {
	return fmt.Errorf("%s.type: %q is not supported; known are %s", field, kind, known)
}

// pattern is how the file writes what Replace and Split look for.
type pattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}
