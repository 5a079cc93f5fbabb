package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"ressa/kernels/cuda/source"
)

var (
	entryLine = regexp.MustCompile(`Compiling entry function '(\w+)' for '\w+'`)
	stackLine = regexp.MustCompile(`(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads`)
	usedLine  = regexp.MustCompile(`Used (\d+) registers`)
	sharedIn  = regexp.MustCompile(`(\d+) bytes smem`)
	// Harmless lines that say nothing of a kernel.
	plainLine = regexp.MustCompile(`^ptxas info\s+: (\d+ bytes gmem.*|Function properties for \w+|Used \d+ .*|Compiling entry function .*)$`)
)

// parseUsage reads what ptxas -v writes: what each kernel uses, and the lines that
// are warnings (advice such as serialised wgmma comes as info with a code).
func parseUsage(log string) (usage map[string]source.Usage, warnings []string, err error) {
	usage = map[string]source.Usage{}
	complete := map[string]bool{}
	kernel := ""
	for line := range strings.Lines(log) {
		line = strings.TrimRight(line, "\r\n")
		if m := entryLine.FindStringSubmatch(line); m != nil {
			kernel = m[1]
			usage[kernel] = source.Usage{}
		}
		u := usage[kernel]
		switch m := stackLine.FindStringSubmatch(line); {
		case m != nil && kernel != "":
			// Functions that were not inlined have a line of their own.
			u.Stack, u.Spills = u.Stack+number(m[1]), u.Spills+number(m[2])+number(m[3])
		case plainLine.MatchString(line):
			if m := usedLine.FindStringSubmatch(line); m != nil && kernel != "" {
				u.Registers, complete[kernel] = number(m[1]), true
			}
			if m := sharedIn.FindStringSubmatch(line); m != nil && kernel != "" {
				u.Shared = number(m[1])
			}
		case strings.TrimSpace(line) != "":
			warnings = append(warnings, line)
		}
		if kernel != "" {
			usage[kernel] = u
		}
	}
	for k := range usage {
		if !complete[k] {
			return nil, nil, fmt.Errorf("ptxas does not say how many registers %s uses:\n%s", k, log)
		}
	}
	if len(usage) == 0 {
		return nil, nil, fmt.Errorf("ptxas names no kernel:\n%s", log)
	}
	return usage, warnings, nil
}

// number reads digits that a pattern matched.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}
