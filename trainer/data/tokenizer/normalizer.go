package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const knownNormalizers = "Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase"

// parseNormalizer returns nil where there is none.
func parseNormalizer(raw json.RawMessage, field string) (func(string) string, error) {
	if absent(raw) {
		return nil, nil
	}
	name, err := kind(raw, field)
	if err != nil {
		return nil, err
	}
	var c struct {
		Type        string            `json:"type"`
		Normalizers []json.RawMessage `json:"normalizers"`
		Prepend     string            `json:"prepend"`
		Pattern     pattern           `json:"pattern"`
		Content     string            `json:"content"`
	}
	switch name {
	case "Sequence", "Prepend", "Replace", "NFC", "NFD", "NFKC", "NFKD", "Lowercase":
		if err := strict(raw, field, &c); err != nil {
			return nil, err
		}
	}
	switch name {
	case "Sequence":
		var all []func(string) string
		for i, r := range c.Normalizers {
			f, err := parseNormalizer(r, fmt.Sprintf("%s.normalizers[%d]", field, i))
			if err != nil {
				return nil, err
			}
			if f != nil {
				all = append(all, f)
			}
		}
		return func(s string) string {
			for _, f := range all {
				s = f(s)
			}
			return s
		}, nil
	case "Prepend":
		return func(s string) string {
			if s == "" {
				return s
			}
			return c.Prepend + s
		}, nil
	case "Replace":
		return parseReplace(c.Pattern, c.Content, field)
	case "NFC":
		return norm.NFC.String, nil
	case "NFD":
		return norm.NFD.String, nil
	case "NFKC":
		return norm.NFKC.String, nil
	case "NFKD":
		return norm.NFKD.String, nil
	case "Lowercase":
		return lowercase, nil
	}
	return nil, unsupported(field, name, knownNormalizers)
}

func parseReplace(p pattern, content, field string) (func(string) string, error) {
	switch {
	case p.String != nil && *p.String != "":
		return strings.NewReplacer(*p.String, content).Replace, nil
	case p.Regex != nil:
		s, err := compile(*p.Regex)
		if err != nil {
			return nil, fmt.Errorf("%s.pattern.Regex: %w", field, err)
		}
		return func(text string) string {
			var b strings.Builder
			s.each(text, func(part string, match bool) {
				if match {
					part = content
				}
				b.WriteString(part)
			})
			return b.String()
		}, nil
	}
	return nil, fmt.Errorf("%s.pattern: want a non-empty String or a Regex", field)
}

// lowercase maps each rune by itself. İ is the only one whose lower case has
// two runes, which unicode.ToLower leaves out.
func lowercase(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == 'İ' {
			b.WriteString("i\u0307")
			continue
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
