package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// byteRune returns the printable rune that stands for a byte in byte-level
// vocabularies: printable Latin-1 stands for itself, the rest follows from
// U+0100 on (GPT-2's bytes_to_unicode).
func byteRune(b byte) rune {
	switch {
	case b >= '!' && b <= '~', b >= 0xA1 && b <= 0xAC, b >= 0xAE:
		return rune(b)
	case b <= ' ':
		return 0x100 + rune(b)
	case b == 0xAD:
		return 0x143
	}
	return 0x121 + rune(b) - 0x7F // 0x7F…0xA0
}

// runeByte is the inverse of byteRune.
func runeByte(r rune) (byte, bool) {
	switch {
	case r >= '!' && r <= '~', r >= 0xA1 && r <= 0xAC, r >= 0xAE && r <= 0xFF:
		return byte(r), true
	case r >= 0x100 && r <= 0x120:
		return byte(r - 0x100), true
	case r >= 0x121 && r <= 0x142:
		return byte(r - 0x121 + 0x7F), true
	case r == 0x143:
		return 0xAD, true
	}
	return 0, false
}

// byteLevel returns the ByteLevel pre-tokenizer.
func byteLevel(addPrefixSpace, useRegex bool) (func([]piece) []piece, error) {
	s, err := compile(gpt2)
	if err != nil {
		return nil, err
	}
	cut := cutAt(s, "Isolated")
	return func(in []piece) []piece {
		out := make([]piece, len(in))
		for i, p := range in {
			if addPrefixSpace && !strings.HasPrefix(p.text, " ") {
				p.text = " " + p.text
			}
			out[i] = p
		}
		if useRegex {
			out = cut(out)
		}
		for i := range out {
			var b strings.Builder
			for _, c := range []byte(out[i].text) {
				b.WriteRune(byteRune(c))
			}
			out[i].text = b.String()
		}
		return out
	}, nil
}

// byteLevelDecode joins tokens and maps their runes back to bytes. A token with
// a rune that stands for no byte (an added token) is taken as it is.
func byteLevelDecode(tokens []string) []string {
	var raw []byte
	for _, t := range tokens {
		before := len(raw)
		for _, r := range t {
			b, ok := runeByte(r)
			if !ok {
				raw = append(raw[:before], t...)
				break
			}
			raw = append(raw, b)
		}
	}
	return []string{lossy(raw)}
}

// lossy replaces each maximal invalid part by U+FFFD, as the Unicode standard
// recommends (3.9, "Substitution of Maximal Subparts").
func lossy(raw []byte) string {
	var b strings.Builder
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		if r == utf8.RuneError && n == 1 {
			n = maximalSubpart(raw)
		}
		b.WriteRune(r)
		raw = raw[n:]
	}
	return b.String()
}

// maximalSubpart returns the length of the ill-formed sequence that raw starts
// with: 1, or as far as it could still have become a rune.
func maximalSubpart(raw []byte) int {
	need, low, high := 0, byte(0x80), byte(0xBF)
	switch c := raw[0]; {
	case c >= 0xC2 && c <= 0xDF:
		need = 1
	case c >= 0xE0 && c <= 0xEF:
		need = 2
		if c == 0xE0 {
			low = 0xA0
		} else if c == 0xED {
			high = 0x9F
		}
	case c >= 0xF0 && c <= 0xF4:
		need = 3
		if c == 0xF0 {
			low = 0x90
		} else if c == 0xF4 {
			high = 0x8F
		}
	}
	n := 1
	for ; n <= need && n < len(raw) && raw[n] >= low && raw[n] <= high; n++ {
		low, high = 0x80, 0xBF
	}
	return n
}
