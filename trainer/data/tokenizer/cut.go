package tokenizer

// cutAt returns a pre-tokenizer that cuts every piece at the matches of s, with
// the behaviours of Hugging Face's SplitDelimiterBehavior.
func cutAt(s splitting, behaviour string) func([]piece) []piece {
	return func(in []piece) []piece {
		var out []piece
		for _, p := range in {
			at := 0
			for _, part := range join(s, p.text, behaviour) {
				if !part.dropped {
					out = append(out, piece{text: part.text, first: p.first && at == 0})
				}
				at += len(part.text)
			}
		}
		return out
	}
}

type part struct {
	text    string
	match   bool
	dropped bool
}

// join lists the parts of text, joined as the behaviour says.
func join(s splitting, text, behaviour string) []part {
	var parts []part
	s.each(text, func(t string, match bool) {
		parts = append(parts, part{text: t, match: match, dropped: match && behaviour == "Removed"})
	})
	if behaviour == "Removed" || behaviour == "Isolated" {
		return parts
	}
	var out []part
	at := 0
	for i, p := range parts {
		last := len(out) - 1
		joined := false
		if i > 0 {
			before := parts[i-1]
			switch behaviour {
			case "Contiguous":
				joined = p.match == before.match
			case "MergedWithPrevious":
				joined = p.match && !before.match
			case "MergedWithNext":
				joined = !p.match && before.match
			}
		}
		start := at
		at += len(p.text)
		if joined {
			out[last].text = text[start-len(out[last].text) : at]
			continue
		}
		out = append(out, p)
	}
	return out
}
