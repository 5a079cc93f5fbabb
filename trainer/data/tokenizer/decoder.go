package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const knownDecoders = "Sequence, ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip"

// parseDecoder returns nil where there is none: tokens are then joined by spaces.
func parseDecoder(raw json.RawMessage, field string) (func([]string) []string, error) {
	if absent(raw) {
		return nil, nil
	}
	name, err := kind(raw, field)
	if err != nil {
		return nil, err
	}
	switch name {
	case "ByteLevel":
		return byteLevelDecode, nil
	case "ByteFallback":
		return byteFallbackDecode, nil
	case "Fuse":
		return func(tokens []string) []string { return []string{strings.Join(tokens, "")} }, nil
	case "Metaspace":
		c, err := readMetaspace(raw, field)
		if err != nil {
			return nil, err
		}
		return eachToken(func(i int, t string) string {
			if i == 0 && c.Scheme != "never" {
				return strings.ReplaceAll(t, c.Replacement, "")
			}
			return strings.ReplaceAll(t, c.Replacement, " ")
		}), nil
	}
	var c struct {
		Type     string            `json:"type"`
		Decoders []json.RawMessage `json:"decoders"`
		Pattern  pattern           `json:"pattern"`
		Content  string            `json:"content"`
		Start    int               `json:"start"`
		Stop     int               `json:"stop"`
	}
	switch name {
	case "Sequence", "Replace", "Strip":
		if err := strict(raw, field, &c); err != nil {
			return nil, err
		}
	}
	switch name {
	case "Sequence":
		var all []func([]string) []string
		for i, r := range c.Decoders {
			f, err := parseDecoder(r, fmt.Sprintf("%s.decoders[%d]", field, i))
			if err != nil {
				return nil, err
			}
			if f != nil {
				all = append(all, f)
			}
		}
		return func(tokens []string) []string {
			for _, f := range all {
				tokens = f(tokens)
			}
			return tokens
		}, nil
	case "Replace":
		replace, err := parseReplace(c.Pattern, c.Content, field)
		if err != nil {
			return nil, err
		}
		return eachToken(func(_ int, t string) string { return replace(t) }), nil
	case "Strip":
		if utf8.RuneCountInString(c.Content) != 1 {
			return nil, fmt.Errorf("%s.content: %q is not one character", field, c.Content)
		}
		return eachToken(func(_ int, t string) string {
			for n := 0; n < c.Start && strings.HasPrefix(t, c.Content); n++ {
				t = t[len(c.Content):]
			}
			for n := 0; n < c.Stop && strings.HasSuffix(t, c.Content); n++ {
				t = t[:len(t)-len(c.Content)]
			}
			return t
		}), nil
	}
	return nil, unsupported(field, name, knownDecoders)
}

func eachToken(f func(i int, token string) string) func([]string) []string {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, t := range tokens {
			out[i] = f(i, t)
		}
		return out
	}
}

// byteFallbackDecode joins runs of <0xXX>. A run that is not UTF-8 becomes one
// U+FFFD a byte.
func byteFallbackDecode(tokens []string) []string {
	var out []string
	var run []byte
	flush := func() {
		if len(run) == 0 {
			return
		}
		if utf8.Valid(run) {
			out = append(out, string(run))
		} else {
			out = append(out, strings.Repeat("\uFFFD", len(run)))
		}
		run = run[:0]
	}
	for _, t := range tokens {
		if len(t) == 6 && strings.HasPrefix(t, "<0x") && t[5] == '>' {
			if b, err := strconv.ParseUint(t[3:5], 16, 8); err == nil {
				run = append(run, byte(b))
				continue
			}
		}
		flush()
		out = append(out, t)
	}
	flush()
	return out
}
