package api

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maxGroup bounds M of a pattern N:M.
const maxGroup = 64

var (
	ratioForm = regexp.MustCompile(`^unstructured:(0|0\.[0-9]+)$`)
	groupForm = regexp.MustCompile(`^([1-9][0-9]?):([1-9][0-9]?)$`)
)

// checkPattern verifies a pattern of a tower in the one spelling that each has:
// unstructured:RATIO with a decimal fraction below 1, N:M without signs and
// leading zeros.
func checkPattern(field, text string) error {
	if strings.HasPrefix(text, "unstructured:") {
		ratio, err := strconv.ParseFloat(strings.TrimPrefix(text, "unstructured:"), 64)
		if !ratioForm.MatchString(text) || err != nil || ratio >= 1 {
			return fmt.Errorf("%s: found %q, want unstructured:RATIO with a decimal fraction from 0 to less than 1", field, shorten(text))
		}
		return nil
	}
	if g := groupForm.FindStringSubmatch(text); g != nil {
		n, errN := strconv.Atoi(g[1])
		m, errM := strconv.Atoi(g[2])
		if errN == nil && errM == nil && n < m && m <= maxGroup {
			return nil
		}
	} else if !strings.Contains(text, ":") {
		return fmt.Errorf("%s: found %q, want unstructured:RATIO or N:M", field, shorten(text))
	}
	return fmt.Errorf("%s: found %q, want N:M with plain integers 1 ≤ N < M ≤ %d", field, shorten(text), maxGroup)
}

// Validate reports the first key whose value cannot be right.
func (p Prune) Validate() error {
	if err := oneOf("prune.method", p.Method, "magnitude", "none", "wanda"); err != nil {
		return err
	}
	if err := checkPattern("prune.pattern", p.Pattern); err != nil {
		return err
	}
	for _, own := range []struct{ field, text string }{{"prune.vision", p.Vision}, {"prune.language", p.Language}} {
		if own.text == "" || own.text == Dense {
			continue
		}
		if err := checkPattern(own.field, own.text); err != nil {
			return err
		}
	}
	return nil
}
