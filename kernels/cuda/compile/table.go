package main

import (
	"bytes"
	"fmt"
	"strings"

	"ressa/kernels/cuda/source"
)

// The table lies between these lines of the page.
const (
	tableBegin = "<!-- written by make generate: -->\n"
	tableEnd   = "<!-- :written by make generate -->\n"
)

// table shows what each kernel uses on each architecture.
func table(m source.Manifest) string {
	var b strings.Builder
	fmt.Fprintf(&b, "NVRTC %s (`%s`), ptxas %s (`%s`).\n\n", m.NVRTC.Version, strings.Join(m.NVRTC.Options, " "),
		m.PTXAS.Version, strings.Join(m.PTXAS.Options, " "))
	fmt.Fprintf(&b, "| source | kernel | hot | %s |\n", strings.Join(architectures, " | "))
	fmt.Fprintf(&b, "| --- | --- | --- |%s\n", strings.Repeat(" --- |", len(architectures)))
	for _, s := range m.Sources {
		for _, k := range s.Kernels {
			hot := ""
			if k.Hot {
				hot = "yes"
			}
			fmt.Fprintf(&b, "| %s | `%s` | %s |", s.Name, k.Name, hot)
			for _, a := range architectures {
				u, ok := k.Usage[a]
				if !ok {
					b.WriteString(" – |")
					continue
				}
				fmt.Fprintf(&b, " %d / %d / %d |", u.Registers, u.Spills, u.Shared)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// withTable returns the page with a new table.
func withTable(page []byte, text string) ([]byte, error) {
	before, rest, ok := bytes.Cut(page, []byte(tableBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(tableEnd))
	if !ok || !ok2 {
		return nil, fmt.Errorf("the page has no lines %q and %q", strings.TrimSpace(tableBegin), strings.TrimSpace(tableEnd))
	}
	return bytes.Join([][]byte{before, []byte(tableBegin), []byte("\n"), []byte(text), []byte("\n"), []byte(tableEnd), after}, nil), nil
}

// spills names the hot kernels that spill.
func spills(m source.Manifest) []string {
	var found []string
	for _, s := range m.Sources {
		for _, k := range s.Kernels {
			for _, a := range architectures {
				if u := k.Usage[a]; k.Hot && u.Spills > 0 {
					found = append(found, fmt.Sprintf("%s.cu: hot kernel %s spills %d bytes on %s", s.Name, k.Name, u.Spills, a))
				}
			}
		}
	}
	return found
}
