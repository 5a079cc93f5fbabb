package tokenizer

import (
	"encoding/json"
	"fmt"
)

// parseModel reads the model and returns its vocabulary.
func parseModel(raw json.RawMessage) (model, map[string]int32, error) {
	if absent(raw) {
		return nil, nil, fmt.Errorf("model is missing")
	}
	name, err := kind(raw, "model")
	if err != nil {
		return nil, nil, err
	}
	switch name {
	case "BPE", "": // files from before the field was written are BPE
		return parseBPE(raw)
	case "WordLevel":
		return parseWordLevel(raw)
	}
	return nil, nil, unsupported("model", name, "BPE, WordLevel")
}

// wordLevel gives each piece one token.
type wordLevel struct {
	vocab   map[string]int32
	unknown string
}

func parseWordLevel(raw json.RawMessage) (*wordLevel, map[string]int32, error) {
	var f struct {
		Type         string           `json:"type"`
		Vocab        map[string]int32 `json:"vocab"`
		UnknownToken string           `json:"unk_token"`
	}
	if err := strict(raw, "model", &f); err != nil {
		return nil, nil, err
	}
	if len(f.Vocab) == 0 {
		return nil, nil, fmt.Errorf("model.vocab is empty")
	}
	return &wordLevel{vocab: f.Vocab, unknown: f.UnknownToken}, f.Vocab, nil
}

func (m *wordLevel) id(token string) (int32, bool) {
	id, ok := m.vocab[token]
	return id, ok
}

func (m *wordLevel) tokenize(ids []int32, text string) ([]int32, error) {
	if id, ok := m.vocab[text]; ok {
		return append(ids, id), nil
	}
	if id, ok := m.vocab[m.unknown]; ok {
		return append(ids, id), nil
	}
	return nil, fmt.Errorf("word %q is unknown and the vocabulary has no unknown token %q", text, m.unknown)
}
