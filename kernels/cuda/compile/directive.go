package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// directive is what the first line of a source says about it.
type directive struct {
	hopper bool     // sm_90a has PTX of its own
	hot    []string // patterns of kernels that must not spill
}

func parseDirective(file string, text []byte) (directive, error) {
	var d directive
	line, _, _ := strings.Cut(string(text), "\n")
	words, ok := strings.CutPrefix(line, "//compile:")
	if !ok {
		return d, nil
	}
	for _, w := range strings.Fields(words) {
		if patterns, ok := strings.CutPrefix(w, "hot="); ok {
			d.hot = strings.Split(patterns, ",")
		} else if w == "sm_90a" {
			d.hopper = true
		} else {
			return d, fmt.Errorf("%s: first line says %q, want sm_90a or hot=KERNEL,…", file, w)
		}
	}
	for _, p := range d.hot {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return d, fmt.Errorf("%s: hot=%q is not a pattern of kernels", file, p)
		}
	}
	return d, nil
}

func (d directive) isHot(kernel string) bool {
	return slices.ContainsFunc(d.hot, func(pattern string) bool {
		ok, err := path.Match(pattern, kernel)
		return ok && err == nil
	})
}

// unmatched is the first pattern that fits no kernel.
func (d directive) unmatched(kernels []string) string {
	for _, p := range d.hot {
		if !slices.ContainsFunc(kernels, directive{hot: []string{p}}.isHot) {
			return p
		}
	}
	return ""
}
