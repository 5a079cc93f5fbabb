package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The page's bounds, so that it stays one whatever a step has to say.
const (
	mostLines  = 12  // of a step
	mostLetter = 132 // of a line
)

func (o Outcome) write(page io.Writer) {
	said := o.Lines
	if len(said) > mostLines {
		said = append(said[:mostLines:mostLines], fmt.Sprintf("(%d more lines, in the JSON file)", len(said)-mostLines))
	}
	if len(said) == 0 {
		said = []string{""}
	}
	fmt.Fprintf(page, "%-8s%-14s%6.1f  %s\n", o.Status, o.Step, o.Seconds, cut(said[0]))
	for _, line := range said[1:] {
		fmt.Fprintf(page, "%30s%s\n", "", cut(line))
	}
}

func (r Report) verdict() string {
	count := map[string]int{}
	for _, o := range r.Steps {
		count[o.Status]++
	}
	text := fmt.Sprintf("%d of %d steps passed", count[passed], len(r.Steps))
	for _, status := range []string{failing, skipped, absent} {
		if n := count[status]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, strings.ToLower(status))
		}
	}
	return fmt.Sprintf("%s; %.0f s", text, r.Seconds)
}

// cut shortens a line to the page's width.
func cut(line string) string {
	if utf8.RuneCountInString(line) <= mostLetter {
		return line
	}
	return string([]rune(line)[:mostLetter-1]) + "…"
}

// lines splits text into those that are not empty.
func lines(text string) (all []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \t\r\n"); line != "" {
			all = append(all, line)
		}
	}
	return all
}
