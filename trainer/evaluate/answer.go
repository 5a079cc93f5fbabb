package evaluate

import (
	"strings"
	"unicode"
)

// Normalise prepares an answer for comparison as the VQA reference evaluation
// does (vqaEval.py, processPunctuation and processDigitArticle): white space
// becomes single blanks, punctuation is dropped or becomes a blank by the
// reference's rule, a point stays only before a digit, letters become lower case,
// number words up to ten become digits, articles go, and contractions get their
// apostrophes.
func Normalise(answer string) string {
	s := strings.Join(strings.Fields(answer), " ")
	s = processPunctuation(s)
	words := strings.Fields(strings.ToLower(s))
	kept := words[:0]
	for _, w := range words {
		switch w {
		case "a", "an", "the":
			continue
		}
		if d, ok := digit(w); ok {
			w = d
		} else if c, ok := contraction(w); ok {
			w = c
		}
		kept = append(kept, w)
	}
	return strings.Join(kept, " ")
}

// punctuation are the characters that the reference treats.
const punctuation = `;/[]"{}()=+\_-><@` + "`" + `,?!`

// processPunctuation follows the reference: a mark that stands beside a blank
// somewhere in the answer, or any mark where the answer has a comma between
// digits, is dropped, other marks become blanks; then points that do not follow
// or precede a digit are dropped.
func processPunctuation(s string) string {
	grouped := commaBetweenDigits(s)
	out := s
	for _, p := range punctuation {
		mark := string(p)
		if strings.Contains(s, mark+" ") || strings.Contains(s, " "+mark) || grouped {
			out = strings.ReplaceAll(out, mark, "")
		} else {
			out = strings.ReplaceAll(out, mark, " ")
		}
	}
	return dropPoints(out)
}

func commaBetweenDigits(s string) bool {
	r := []rune(s)
	for i := 1; i+1 < len(r); i++ {
		if r[i] == ',' && unicode.IsDigit(r[i-1]) && unicode.IsDigit(r[i+1]) {
			return true
		}
	}
	return false
}

// dropPoints drops points as the reference's expression (?!<=\d)(\.)(?!\d) does.
// Its first group is a lookahead for the text "<=" and a digit, which a point
// never is, so that only the digit behind the point counts.
func dropPoints(s string) string {
	r := []rune(s)
	out := make([]rune, 0, len(r))
	for i, c := range r {
		if c == '.' && (i+1 == len(r) || !unicode.IsDigit(r[i+1])) {
			continue
		}
		out = append(out, c)
	}
	return string(out)
}

func digit(word string) (string, bool) {
	switch word {
	case "none", "zero":
		return "0", true
	case "one":
		return "1", true
	case "two":
		return "2", true
	case "three":
		return "3", true
	case "four":
		return "4", true
	case "five":
		return "5", true
	case "six":
		return "6", true
	case "seven":
		return "7", true
	case "eight":
		return "8", true
	case "nine":
		return "9", true
	case "ten":
		return "10", true
	}
	return "", false
}

// contractions are the words that the reference restores from spellings that
// lack one or all apostrophes. Its keys with capitals, which lower-cased words
// never equal, are left out.
const contractions = `ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't
not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd
where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll
y'all'd've you'd you'd've you'll you're you've`

func contraction(word string) (string, bool) {
	for c := range strings.FieldsSeq(contractions) {
		if equalButApostrophes(c, word) {
			return c, true
		}
	}
	return "", false
}

// equalButApostrophes compares two words without the apostrophes in them.
func equalButApostrophes(a, b string) bool {
	for {
		a, b = strings.TrimLeft(a, "'"), strings.TrimLeft(b, "'")
		if a == "" || b == "" {
			return a == b
		}
		if a[0] != b[0] {
			return false
		}
		a, b = a[1:], b[1:]
	}
}

// Match reports whether an answer equals one of the accepted ones after
// [Normalise].
func Match(answer string, accepted []string) bool {
	a := Normalise(answer)
	for _, want := range accepted {
		if a == Normalise(want) {
			return true
		}
	}
	return false
}
