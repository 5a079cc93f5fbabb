package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const knownPreTokenizers = "Sequence, ByteLevel, Metaspace, Split, Digits, Whitespace, WhitespaceSplit"

// splitting finds the matches in a text, for a behaviour to cut at.
type splitting interface {
	each(text string, part func(text string, match bool))
}

// parsePreTokenizer returns nil where there is none.
func parsePreTokenizer(raw json.RawMessage, field string) (func([]piece) []piece, error) {
	if absent(raw) {
		return nil, nil
	}
	name, err := kind(raw, field)
	if err != nil {
		return nil, err
	}
	switch name {
	case "Sequence":
		return parsePreTokenizerSequence(raw, field)
	case "ByteLevel":
		c := struct {
			Type           string `json:"type"`
			AddPrefixSpace bool   `json:"add_prefix_space"`
			TrimOffsets    bool   `json:"trim_offsets"`
			UseRegex       bool   `json:"use_regex"`
		}{AddPrefixSpace: true, UseRegex: true}
		if err := strict(raw, field, &c); err != nil {
			return nil, err
		}
		return byteLevel(c.AddPrefixSpace, c.UseRegex)
	case "Metaspace":
		return parseMetaspace(raw, field)
	case "Split":
		return parseSplit(raw, field)
	case "Digits":
		var c struct {
			Type       string `json:"type"`
			Individual bool   `json:"individual_digits"`
		}
		if err := strict(raw, field, &c); err != nil {
			return nil, err
		}
		if c.Individual {
			return cutAt(runes{unicode.IsNumber}, "Isolated"), nil
		}
		return cutAt(runes{unicode.IsNumber}, "Contiguous"), nil
	case "Whitespace":
		return cutAt(wordsAndSigns{}, "Removed"), nil
	case "WhitespaceSplit":
		return cutAt(runes{unicode.IsSpace}, "Removed"), nil
	}
	return nil, unsupported(field, name, knownPreTokenizers)
}

func parsePreTokenizerSequence(raw json.RawMessage, field string) (func([]piece) []piece, error) {
	var c struct {
		Type          string            `json:"type"`
		Pretokenizers []json.RawMessage `json:"pretokenizers"`
	}
	if err := strict(raw, field, &c); err != nil {
		return nil, err
	}
	var all []func([]piece) []piece
	for i, r := range c.Pretokenizers {
		f, err := parsePreTokenizer(r, fmt.Sprintf("%s.pretokenizers[%d]", field, i))
		if err != nil {
			return nil, err
		}
		if f != nil {
			all = append(all, f)
		}
	}
	return func(p []piece) []piece {
		for _, f := range all {
			p = f(p)
		}
		return p
	}, nil
}

func parseMetaspace(raw json.RawMessage, field string) (func([]piece) []piece, error) {
	c, err := readMetaspace(raw, field)
	if err != nil {
		return nil, err
	}
	cut := cutAt(&splitter{literal: c.Replacement}, "MergedWithNext")
	return func(in []piece) []piece {
		out := make([]piece, len(in))
		for i, p := range in {
			p.text = strings.ReplaceAll(p.text, " ", c.Replacement)
			prepend := c.Scheme == "always" || c.Scheme == "first" && p.first
			if prepend && !strings.HasPrefix(p.text, c.Replacement) {
				p.text = c.Replacement + p.text
			}
			out[i] = p
		}
		if c.Split != nil && !*c.Split {
			return out
		}
		return cut(out)
	}, nil
}

type metaspace struct {
	Type           string `json:"type"`
	Replacement    string `json:"replacement"`
	Scheme         string `json:"prepend_scheme"`
	Split          *bool  `json:"split"`
	AddPrefixSpace *bool  `json:"add_prefix_space"` // the older way to write the scheme
	Representation string `json:"str_rep"`          // always the replacement
}

func readMetaspace(raw json.RawMessage, field string) (metaspace, error) {
	var c metaspace
	if err := strict(raw, field, &c); err != nil {
		return c, err
	}
	if c.Scheme == "" {
		c.Scheme = "always"
		if c.AddPrefixSpace != nil && !*c.AddPrefixSpace {
			c.Scheme = "never"
		}
	}
	if c.Scheme != "always" && c.Scheme != "first" && c.Scheme != "never" {
		return c, fmt.Errorf("%s.prepend_scheme: %q is none of always, first, never", field, c.Scheme)
	}
	if utf8.RuneCountInString(c.Replacement) != 1 {
		return c, fmt.Errorf("%s.replacement: %q is not one character", field, c.Replacement)
	}
	return c, nil
}

func parseSplit(raw json.RawMessage, field string) (func([]piece) []piece, error) {
	var c struct {
		Type     string  `json:"type"`
		Pattern  pattern `json:"pattern"`
		Behavior string  `json:"behavior"`
		Invert   bool    `json:"invert"`
	}
	if err := strict(raw, field, &c); err != nil {
		return nil, err
	}
	var s *splitter
	switch {
	case c.Pattern.String != nil && *c.Pattern.String != "":
		s = &splitter{literal: *c.Pattern.String}
	case c.Pattern.Regex != nil:
		var err error
		if s, err = compile(*c.Pattern.Regex); err != nil {
			return nil, fmt.Errorf("%s.pattern.Regex: %w", field, err)
		}
	default:
		return nil, fmt.Errorf("%s.pattern: want a non-empty String or a Regex", field)
	}
	switch c.Behavior {
	case "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous":
	default:
		return nil, fmt.Errorf("%s.behavior: %q is not known", field, c.Behavior)
	}
	if c.Invert {
		return cutAt(inverted{s}, c.Behavior), nil
	}
	return cutAt(s, c.Behavior), nil
}

type inverted struct{ splitting }

func (s inverted) each(text string, part func(string, bool)) {
	s.splitting.each(text, func(t string, match bool) { part(t, !match) })
}

// runes matches single runes.
type runes struct{ is func(rune) bool }

func (s runes) each(text string, part func(string, bool)) {
	done := 0
	for i, r := range text {
		if !s.is(r) {
			continue
		}
		if done < i {
			part(text[done:i], false)
		}
		done = i + utf8.RuneLen(r)
		part(text[i:done], true)
	}
	if done < len(text) {
		part(text[done:], false)
	}
}

// wordsAndSigns matches what \w+|[^\w\s]+ does not: the white space.
type wordsAndSigns struct{}

func (wordsAndSigns) each(text string, part func(string, bool)) {
	class := func(r rune) int {
		switch {
		case isWord(r):
			return 0
		case unicode.IsSpace(r):
			return 1
		}
		return 2
	}
	start, before := 0, -1
	for i, r := range text {
		c := class(r)
		if c != before && i > 0 {
			part(text[start:i], before == 1)
			start = i
		}
		before = c
	}
	if text != "" {
		part(text[start:], before == 1)
	}
}
