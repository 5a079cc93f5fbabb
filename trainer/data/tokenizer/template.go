package tokenizer

import (
	"encoding/json"
	"fmt"
)

const knownPostProcessors = "TemplateProcessing, ByteLevel, Sequence"

// parsePostProcessor returns the ids that stand before and after the text.
func parsePostProcessor(raw json.RawMessage, field string) (before, after []int32, err error) {
	if absent(raw) {
		return nil, nil, nil
	}
	name, err := kind(raw, field)
	if err != nil {
		return nil, nil, err
	}
	switch name {
	case "ByteLevel": // trims offsets, which are not given here
		return nil, nil, nil
	case "Sequence":
		var c struct {
			Processors []json.RawMessage `json:"processors"`
		}
		if err := json.Unmarshal(raw, &c); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", field, err)
		}
		for i, r := range c.Processors {
			b, a, err := parsePostProcessor(r, fmt.Sprintf("%s.processors[%d]", field, i))
			if err != nil {
				return nil, nil, err
			}
			before, after = append(b, before...), append(after, a...)
		}
		return before, after, nil
	case "TemplateProcessing":
		return parseTemplate(raw, field)
	}
	return nil, nil, unsupported(field, name, knownPostProcessors)
}

func parseTemplate(raw json.RawMessage, field string) (before, after []int32, err error) {
	type named struct {
		ID string `json:"id"`
	}
	var c struct {
		Single []struct {
			SpecialToken *named `json:"SpecialToken"`
			Sequence     *named `json:"Sequence"`
		} `json:"single"`
		SpecialTokens map[string]struct {
			IDs []int32 `json:"ids"`
		} `json:"special_tokens"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", field, err)
	}
	seen := false
	for i, p := range c.Single {
		switch {
		case p.Sequence != nil && p.Sequence.ID == "A" && !seen:
			seen = true
		case p.SpecialToken != nil:
			s, ok := c.SpecialTokens[p.SpecialToken.ID]
			if !ok {
				return nil, nil, fmt.Errorf("%s.single[%d]: %q is not in special_tokens", field, i, p.SpecialToken.ID)
			}
			if seen {
				after = append(after, s.IDs...)
			} else {
				before = append(before, s.IDs...)
			}
		default:
			return nil, nil, fmt.Errorf("%s.single[%d]: want a SpecialToken, or the Sequence A once", field, i)
		}
	}
	if !seen {
		return nil, nil, fmt.Errorf("%s.single: the Sequence A is missing", field)
	}
	return before, after, nil
}
