package tokenizer

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is an entry of the file's added_tokens.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // no word character may touch it
	LeftStrip  bool   `json:"lstrip"`      // takes the white space before it
	RightStrip bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"` // looked for in the normalized text
	Special    bool   `json:"special"`
}

type addedTokens struct {
	raw, normalized matcher
	ids             map[string]int32
	tokens          map[int32]string
	special         map[string]bool
}

func newAddedTokens(list []addedToken, normalize func(string) string) (addedTokens, error) {
	a := addedTokens{ids: map[string]int32{}, tokens: map[int32]string{}, special: map[string]bool{}}
	for i, t := range list {
		if t.Content == "" {
			return a, fmt.Errorf("added_tokens[%d].content is empty", i)
		}
		if t.ID < 0 || t.ID > maxID {
			return a, fmt.Errorf("added_tokens[%d].id: %d is outside 0…%d", i, t.ID, maxID)
		}
		if _, ok := a.ids[t.Content]; ok {
			return a, fmt.Errorf("added_tokens[%d].content: %q appears twice", i, t.Content)
		}
		if other, ok := a.tokens[t.ID]; ok {
			return a, fmt.Errorf("added_tokens[%d].id: %d belongs to %q already", i, t.ID, other)
		}
		a.ids[t.Content] = t.ID
		if t.Special {
			a.special[t.Content] = true
		}
		text := t.Content
		if t.Normalized && normalize != nil {
			text = normalize(text)
		}
		a.tokens[t.ID] = text // the library shows such a token in its normalized form
		if t.Normalized {
			a.normalized.add(text, t)
		} else {
			a.raw.add(text, t)
		}
	}
	a.raw.sort()
	a.normalized.sort()
	return a, nil
}

// split cuts added tokens out of text. What is left is normalized; the tokens
// marked normalized are looked for after that.
func (a addedTokens) split(text string, normalize func(string) string) []piece {
	var out []piece
	for _, p := range a.raw.split(piece{text: text, first: true}) {
		if p.added {
			out = append(out, p)
			continue
		}
		if normalize != nil {
			p.text = normalize(p.text)
		}
		out = append(out, a.normalized.split(p)...)
	}
	return out
}

// matcher finds the leftmost longest of a set of literals.
type matcher struct {
	byFirst [256][]literal
}

type literal struct {
	text  string
	token addedToken
}

func (m *matcher) add(text string, t addedToken) {
	if text != "" {
		m.byFirst[text[0]] = append(m.byFirst[text[0]], literal{text, t})
	}
}

func (m *matcher) sort() {
	for _, l := range m.byFirst {
		sort.SliceStable(l, func(i, j int) bool { return len(l[i].text) > len(l[j].text) })
	}
}

// split returns p cut at the literals, in order and without empty pieces.
func (m *matcher) split(p piece) []piece {
	var out []piece
	text, done := p.text, 0
	rest := func(end int) {
		if done < end {
			out = append(out, piece{text: text[done:end], first: p.first && done == 0})
		}
	}
	for at := 0; at < len(text); {
		l, ok := m.find(text[at:])
		if !ok {
			at++
			continue
		}
		start, stop := at, at+len(l.text)
		at = stop
		if l.token.SingleWord && (endsInWord(text[:start]) || startsInWord(text[stop:])) {
			continue
		}
		if l.token.LeftStrip {
			start = max(done, len(strings.TrimRightFunc(text[:start], unicode.IsSpace)))
		}
		if l.token.RightStrip {
			stop = len(text) - len(strings.TrimLeftFunc(text[stop:], unicode.IsSpace))
			at = stop
		}
		rest(start)
		out = append(out, piece{text: text[start:stop], added: true, id: l.token.ID})
		done = stop
	}
	rest(len(text))
	return out
}

func (m *matcher) find(text string) (literal, bool) {
	for _, l := range m.byFirst[text[0]] {
		if strings.HasPrefix(text, l.text) {
			return l, true
		}
	}
	return literal{}, false
}

func endsInWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func startsInWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord is \w of Unicode TR18 annex C: alphabetic, marks, decimal numbers,
// connectors and joiners.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic) ||
		r == '\u200c' || r == '\u200d'
}
