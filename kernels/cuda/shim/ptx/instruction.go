package ptx

import (
	"fmt"
	"strings"
)

// instruction is a statement taken apart: setp.lt.s32 has the opcode setp.lt and the
// type s32.
type instruction struct {
	line   int
	guard  string // "", %p1 or !%p1
	name   string // as written
	opcode string // without types
	types  []string
	args   []string
}

// known are the types, with their bits; those of one name's first letter in C++.
var known = map[string]int{
	"pred": 1, "b8": 8, "u8": 8, "s8": 8, "b16": 16, "u16": 16, "s16": 16, "b32": 32, "u32": 32, "s32": 32, "f32": 32,
	"b64": 64, "u64": 64, "s64": 64, "f64": 64,
}

func (st statement) instruction() (instruction, error) {
	in := instruction{line: st.line}
	text := st.text
	if strings.HasPrefix(text, "@") {
		guard, rest, ok := strings.Cut(text[1:], " ")
		if !ok {
			return in, fmt.Errorf("line %d: %q is no instruction", st.line, text)
		}
		in.guard, text = guard, strings.TrimSpace(rest)
	}
	end := strings.IndexAny(text, " \t\n")
	if end < 0 {
		end = len(text)
	}
	in.name = text[:end]
	parts := strings.Split(in.name, ".")
	n := len(parts)
	for n > 1 && known[parts[n-1]] > 0 {
		n--
	}
	in.opcode, in.types = strings.Join(parts[:n], "."), parts[n:]
	in.args = split(text[end:])
	return in, nil
}

// split separates operands at commas that are in no braces.
func split(text string) (args []string) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	depth, from := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth == 0 {
				args = append(args, strings.TrimSpace(text[from:i]))
				from = i + 1
			}
		}
	}
	return append(args, strings.TrimSpace(text[from:]))
}

// list returns the members of a vector operand, or the operand itself.
func list(arg string) []string {
	if strings.HasPrefix(arg, "{") && strings.HasSuffix(arg, "}") {
		return split(arg[1 : len(arg)-1])
	}
	return []string{arg}
}
