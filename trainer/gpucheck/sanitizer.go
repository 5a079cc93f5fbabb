package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// tools are what compute-sanitizer looks for: addresses, races in shared memory, barriers
// that threads miss, and memory that is read before it is written.
var tools = [...]string{"memcheck", "racecheck", "synccheck", "initcheck"}

// findSanitizer looks where NVIDIA's toolkit and its packages for Python put it.
func findSanitizer(ctx context.Context, c *check) (string, error) {
	if path, err := exec.LookPath("compute-sanitizer"); err == nil {
		return path, nil
	}
	patterns := []string{"/usr/local/cuda/bin/compute-sanitizer", "/usr/local/cuda-*/bin/compute-sanitizer", "/usr/local/cuda*/compute-sanitizer/compute-sanitizer"}
	if said, err := execute(ctx, c.python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"); err == nil {
		packages := strings.TrimSpace(string(said.stdout))
		for _, below := range []string{"nvidia/*/bin/compute-sanitizer", "nvidia/*/compute-sanitizer/compute-sanitizer", "nvidia/*/compute-sanitizer"} {
			patterns = append(patterns, filepath.Join(packages, below))
		}
	}
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, path := range found {
			if program, err := exec.LookPath(path); err == nil { // which folders are not
				return program, nil
			}
		}
	}
	return "", fmt.Errorf("compute-sanitizer: %w in PATH, under /usr/local/cuda or in Python's packages (%s)", errAbsent, c.python)
}

// summary is the last word of a tool.
var summary = regexp.MustCompile(`(?m)^=+ (?:\w+ )?SUMMARY: (.*)$`)

// sanitizer runs the small cases under every tool, all at the same time.
func sanitizer(ctx context.Context, c *check, o *Outcome) error {
	program, err := findSanitizer(ctx, c)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	said, errs := make([]output, len(tools)), make([]error, len(tools))
	for i, tool := range tools {
		all.Go(func() {
			said[i], errs[i] = execute(ctx, program, "--tool", tool, "--error-exitcode", "99", filepath.Join(c.binaries, "cuda.test"),
				"-cuda.library", c.library, "-test.run", "^TestOnLibrary$/^small", "-test.v", "-test.timeout", "0")
		})
	}
	all.Wait()
	var failures []error
	for i, tool := range tools {
		text := string(said[i].stdout) + string(said[i].stderr)
		found := summary.FindAllStringSubmatch(text, -1)
		r := resultsOf(string(said[i].stdout), 3)
		line := fmt.Sprintf("%s: %d operations", tool, r.Passed)
		if len(found) > 0 {
			line += ", " + found[len(found)-1][1]
		}
		o.Lines = append(o.Lines, line)
		switch {
		case errs[i] != nil && ctx.Err() != nil:
			failures = append(failures, ctx.Err())
		case errs[i] != nil:
			failures = append(failures, fmt.Errorf("%s: %w: %s", tool, errs[i], firstComplaint(text)))
		case r.Passed == 0:
			failures = append(failures, fmt.Errorf("%s: no test ran: %s", tool, said[i].last()))
		case len(found) == 0:
			failures = append(failures, fmt.Errorf("%s: no summary: %s", tool, said[i].last()))
		}
	}
	return errors.Join(failures...)
}

// firstComplaint is the first thing that a tool reports, or the last that was said.
func firstComplaint(text string) string {
	for _, line := range lines(text) {
		if rest := strings.TrimLeft(line, "= "); strings.HasPrefix(line, "=====") && rest != "" && !strings.HasPrefix(rest, "COMPUTE-SANITIZER") && !strings.Contains(rest, "SUMMARY") {
			return rest
		}
	}
	return output{stdout: []byte(text)}.last()
}
