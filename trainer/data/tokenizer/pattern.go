package tokenizer

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// spaces is the inside of a class with Unicode's White_Space, which is what
// Oniguruma's \s means; Go's \s is ASCII only.
const spaces = `\t-\r\x{85}\p{Z}`

// lookahead is the tail that GPT-2's pattern and its descendants end with: white
// space, less its last rune where something else follows.
const lookahead = `\s+(?!\S)|\s+`

// gpt2 is the pattern of the ByteLevel pre-tokenizer.
const gpt2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// splitter finds the matches of one pattern.
type splitter struct {
	expression *regexp.Regexp // nil: literal
	literal    string
	// With tail, group 1 is the run of white space that lookahead trims.
	tail bool
}

// compile translates an Oniguruma pattern for Go's engine.
func compile(source string) (*splitter, error) {
	body, tail := source, false
	if strings.HasSuffix(source, "|"+lookahead) {
		body, tail = strings.TrimSuffix(source, "|"+lookahead), true
	}
	translated, err := translate(body)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", source, err)
	}
	if tail {
		translated = "(?:" + translated + ")|([" + spaces + "]+)"
	}
	e, err := regexp.Compile(translated)
	if err != nil {
		return nil, fmt.Errorf("pattern %q is not supported: %w", source, err)
	}
	if e.MatchString("") {
		return nil, fmt.Errorf("pattern %q matches the empty text", source)
	}
	if tail && e.NumSubexp() != 1 {
		return nil, fmt.Errorf("pattern %q: capturing groups are not supported", source)
	}
	return &splitter{expression: e, tail: tail}, nil
}

// translate rewrites the escapes whose meaning differs, and refuses what Go
// would read in another way without complaint.
func translate(source string) (string, error) {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(source); i++ {
		c := source[i]
		switch {
		case c == '\\' && i+1 < len(source):
			i++
			switch e := source[i]; {
			case e == 's' && inClass:
				b.WriteString(spaces)
			case e == 's':
				b.WriteString("[" + spaces + "]")
			case e == 'S' && !inClass:
				b.WriteString("[^" + spaces + "]")
			case e == 'd':
				b.WriteString(`\p{Nd}`)
			case strings.IndexByte("pPnrtfvx", e) >= 0 || e < utf8.RuneSelf && !isWord(rune(e)):
				b.WriteByte('\\')
				b.WriteByte(e)
			default:
				return "", fmt.Errorf(`\%c is not supported`, e)
			}
		case inClass && (c == '[' || c == '&' && strings.HasPrefix(source[i:], "&&")):
			return "", fmt.Errorf("nested classes and && are not supported")
		case !inClass && (c == '^' || c == '$'):
			return "", fmt.Errorf("anchor %c is not supported", c)
		default:
			if c == '[' {
				inClass = true
			} else if c == ']' {
				inClass = false
			}
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// each calls part for the text between matches and for the matches, in order;
// empty parts are left out.
func (s *splitter) each(text string, part func(text string, match bool)) {
	for len(text) > 0 {
		start, stop := s.find(text)
		if start < 0 {
			part(text, false)
			return
		}
		if start > 0 {
			part(text[:start], false)
		}
		part(text[start:stop], true)
		text = text[stop:]
	}
}

// find returns the first match in text, or −1. A match is never empty.
func (s *splitter) find(text string) (start, stop int) {
	if s.expression == nil {
		if start = strings.Index(text, s.literal); start < 0 {
			return -1, -1
		}
		return start, start + len(s.literal)
	}
	m := s.expression.FindStringSubmatchIndex(text)
	if m == nil {
		return -1, -1
	}
	start, stop = m[0], m[1]
	if s.tail && m[2] >= 0 && stop < len(text) {
		_, last := utf8.DecodeLastRuneInString(text[start:stop])
		if stop-last > start {
			stop -= last
		}
	}
	return start, stop
}
