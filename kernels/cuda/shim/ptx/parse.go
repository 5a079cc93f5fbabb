package ptx

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// statement is one instruction, directive, label ("name:") or brace.
type statement struct {
	line int
	text string
}

// scanner splits PTX into statements.
type scanner struct {
	text string
	at   int
	line int
}

// skip passes over blanks and comments.
func (s *scanner) skip() {
	for s.at < len(s.text) {
		switch rest := s.text[s.at:]; {
		case rest[0] == '\n':
			s.line++
			s.at++
		case rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r':
			s.at++
		case strings.HasPrefix(rest, "//"):
			if end := strings.IndexByte(rest, '\n'); end >= 0 {
				s.at += end
			} else {
				s.at = len(s.text)
			}
		default:
			return
		}
	}
}

// until takes what comes before the first of the bytes in ends, and that byte too where
// it is a semicolon.
func (s *scanner) until(ends string) (statement, error) {
	st := statement{line: s.line}
	end := strings.IndexAny(s.text[s.at:], ends)
	if end < 0 {
		return st, fmt.Errorf("line %d: the text ends within a statement", s.line)
	}
	st.text = strings.TrimSpace(s.text[s.at : s.at+end])
	s.line += strings.Count(s.text[s.at:s.at+end], "\n")
	s.at += end
	if s.text[s.at] == ';' {
		s.at++
	}
	return st, nil
}

var label = regexp.MustCompile(`^[\w$]+:`)

// next returns the next statement; its text is "" at the end.
func (s *scanner) next() (statement, error) {
	s.skip()
	if s.at == len(s.text) || s.text[s.at] == 0 {
		return statement{line: s.line}, nil
	}
	rest := s.text[s.at:]
	switch {
	case rest[0] == '{' || rest[0] == '}':
		s.at++
		return statement{s.line, rest[:1]}, nil
	case strings.HasPrefix(rest, ".version") || strings.HasPrefix(rest, ".target") || strings.HasPrefix(rest, ".address_size"):
		return s.until("\n")
	case strings.HasPrefix(rest, ".visible .entry"):
		return s.until("{")
	}
	if name := label.FindString(rest); name != "" {
		s.at += len(name)
		return statement{s.line, name}, nil
	}
	return s.until(";")
}

// variable is one of shared memory; dynamic where it has no size.
type variable struct {
	name         string
	bytes, align int
	dynamic      bool
}

var sharedVariable = regexp.MustCompile(`^(\.extern )?\.shared \.align (\d+) \.b8 ([\w$]+)\[(\d*)\]$`)

func (st statement) variable() (variable, error) {
	m := sharedVariable.FindStringSubmatch(st.text)
	if m == nil || (m[1] == "") == (m[4] == "") {
		return variable{}, fmt.Errorf("line %d: declaration %q is not known", st.line, st.text)
	}
	v := variable{name: m[3], dynamic: m[4] == ""}
	v.align, _ = strconv.Atoi(m[2])
	v.bytes, _ = strconv.Atoi(m[4])
	return v, nil
}

// kernel is an entry with what it declares.
type kernel struct {
	name      string
	parameter string
	bytes     int // of the parameter
	threads   int // the most of a block
	exact     bool
	shared    []variable
	body      []statement // between its braces, these left out
}

var (
	entryHeader = regexp.MustCompile(`^\.visible \.entry ([\w$]+)\(\s*\.param \.align \d+ \.b8 ([\w$]+)\[(\d+)\]\s*\)\s*((?:\.\w+ [\d, ]+\s*)*)$`)
	bound       = regexp.MustCompile(`\.(\w+) (\d+)(?:, 1, 1)?\s*$`)
)

func (st statement) kernel() (kernel, error) {
	m := entryHeader.FindStringSubmatch(st.text)
	if m == nil {
		return kernel{}, fmt.Errorf("line %d: entry %q, want one parameter of bytes", st.line, st.text)
	}
	k := kernel{name: m[1], parameter: m[2], threads: 1024}
	k.bytes, _ = strconv.Atoi(m[3])
	for _, line := range strings.Split(strings.TrimSpace(m[4]), "\n") {
		if line == "" {
			continue
		}
		b := bound.FindStringSubmatch(line)
		if b == nil {
			return kernel{}, fmt.Errorf("line %d: kernel %s: directive %q is not known", st.line, k.name, line)
		}
		switch b[1] {
		case "maxntid":
			k.threads, _ = strconv.Atoi(b[2])
		case "reqntid":
			k.threads, _ = strconv.Atoi(b[2])
			k.exact = true
		case "minnctapersm": // registers, which are ptxas's
		default:
			return kernel{}, fmt.Errorf("line %d: kernel %s: directive %q is not known", st.line, k.name, line)
		}
	}
	return k, nil
}

// parse returns the kernels; variables of the module are in each of them.
func parse(text string) (kernels []kernel, err error) {
	s := scanner{text: text, line: 1}
	var shared []variable
	for {
		st, err := s.next()
		if err != nil || st.text == "" {
			return kernels, err
		}
		switch {
		case strings.HasPrefix(st.text, ".visible .entry"):
			k, err := st.kernel()
			if err != nil {
				return nil, err
			}
			k.shared = append(k.shared, shared...)
			if err := s.body(&k); err != nil {
				return nil, err
			}
			kernels = append(kernels, k)
		case strings.HasPrefix(st.text, ".shared"), strings.HasPrefix(st.text, ".extern"):
			v, err := st.variable()
			if err != nil {
				return nil, err
			}
			shared = append(shared, v)
		case strings.HasPrefix(st.text, ".version "), strings.HasPrefix(st.text, ".target "), st.text == ".address_size 64":
		default:
			return nil, fmt.Errorf("line %d: %q is not known outside a kernel", st.line, st.text)
		}
	}
}

// body reads a kernel's statements.
func (s *scanner) body(k *kernel) error {
	for depth := 0; ; {
		st, err := s.next()
		if err != nil {
			return fmt.Errorf("kernel %s: %w", k.name, err)
		}
		switch {
		case st.text == "":
			return fmt.Errorf("line %d: kernel %s has no end", st.line, k.name)
		case st.text == "{":
			if depth++; depth == 1 {
				continue
			}
		case st.text == "}":
			if depth--; depth == 0 {
				return nil
			}
		case strings.HasPrefix(st.text, ".shared"):
			v, err := st.variable()
			if err != nil {
				return err
			}
			k.shared = append(k.shared, v)
			continue
		}
		k.body = append(k.body, st)
	}
}
