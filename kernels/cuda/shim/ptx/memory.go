package ptx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// address returns the operand [register+offset] or [name+offset] as an expression.
func (e *emitter) address(arg string) (string, error) {
	inner, ok := strings.CutPrefix(arg, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if !ok || !closed {
		return "", fmt.Errorf("operand %q, want an address in brackets", arg)
	}
	base, offset, _ := strings.Cut(inner, "+")
	var at string
	if named, ok := e.symbols[base]; ok {
		at = "(u64)(" + named + ")"
	} else {
		v, typ, err := e.register(base)
		if err != nil {
			return "", err
		}
		if typ != "u64" && typ != "u32" {
			return "", fmt.Errorf("the address %s has the type %s", base, typ)
		}
		at = "(u64)" + v
	}
	if offset == "" {
		return at, nil
	}
	n, err := strconv.ParseInt(offset, 0, 64)
	if err != nil {
		return "", fmt.Errorf("offset %q of an address: %w", offset, err)
	}
	return fmt.Sprintf("%s + %dll", at, n), nil
}

// access writes ld and st: of a space, or generic, of one, two or four elements.
func (e *emitter) access(in instruction) (string, error) {
	parts := strings.Split(in.opcode, ".")
	verb, rest := parts[0], parts[1:]
	space, n := "generic", 1
	if len(rest) > 0 && slices.Contains([]string{"global", "shared", "param"}, rest[0]) {
		space, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 && rest[0] == "nc" && verb == "ld" && space == "global" { // through the cache for what nobody writes
		rest = rest[1:]
	}
	if len(rest) > 0 && (rest[0] == "v2" || rest[0] == "v4") {
		n, rest = int(rest[0][1]-'0'), rest[1:]
	}
	if len(rest) > 0 || len(in.types) != 1 || in.types[0] == "pred" || space == "param" && verb == "st" {
		return "", errUnknown
	}
	if len(in.args) != 2 {
		return "", fmt.Errorf("%d operands, want 2", len(in.args))
	}
	memory, value := in.args[1], list(in.args[0])
	if verb == "st" {
		memory, value = in.args[0], list(in.args[1])
	}
	if len(value) != n {
		return "", fmt.Errorf("%d elements, want %d", len(value), n)
	}
	at, err := e.address(memory)
	if err != nil {
		return "", err
	}
	typ := in.types[0]
	if verb == "st" {
		for i := range value {
			if value[i], err = e.stored(value[i], typ); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("store_%s(%s, several<%s, %d>{%s}, %d);", space, at, cxx(typ), n, strings.Join(value, ", "), in.line), nil
	}
	text := fmt.Sprintf("{ auto w = load_%s<%s, %d>(%s, %d);", space, cxx(typ), n, at, in.line)
	for i, to := range value {
		set, err := e.loaded(to, typ, fmt.Sprintf("w.at[%d]", i))
		if err != nil {
			return "", err
		}
		text += " " + set
	}
	return text + " }", nil
}

// stored is read, but that the register may be wider than what is stored.
func (e *emitter) stored(arg, typ string) (string, error) {
	if strings.HasPrefix(arg, "%") {
		v, have, err := e.register(arg)
		if err != nil {
			return "", err
		}
		if have[0] == 'u' && cxx(typ)[0] != 'f' && width(have) > known[typ] {
			return fmt.Sprintf("(%s)%s", cxx(typ), v), nil
		}
	}
	return e.read(arg, typ)
}

// loaded is write, but that the register may be wider than what is loaded, which is
// extended by its sign where its type has one.
func (e *emitter) loaded(arg, typ, value string) (string, error) {
	v, have, err := e.register(arg)
	if err != nil {
		return "", err
	}
	if have[0] == 'u' && cxx(typ)[0] != 'f' && width(have) > known[typ] {
		if typ[0] == 's' {
			value = fmt.Sprintf("(s%d)%s", width(have), value)
		}
		return fmt.Sprintf("%s = %s;", v, value), nil
	}
	return e.write(arg, typ, value)
}

// pack writes mov between a register and the vector of its halves.
func (e *emitter) pack(in instruction) (string, error) {
	if len(in.args) != 2 || !strings.HasPrefix(in.types[0], "b") {
		return "", errUnknown
	}
	typ := in.types[0]
	half := fmt.Sprintf("b%d", known[typ]/2)
	if to := list(in.args[0]); len(to) == 2 {
		whole, err := e.read(in.args[1], typ)
		if err != nil {
			return "", err
		}
		low, err := e.write(to[0], half, "("+cxx(half)+")w")
		if err != nil {
			return "", err
		}
		high, err := e.write(to[1], half, fmt.Sprintf("(%s)(w >> %d)", cxx(half), known[half]))
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("{ %s w = %s; %s %s }", cxx(typ), whole, low, high), nil
	}
	from := list(in.args[1])
	if len(from) != 2 {
		return "", errUnknown
	}
	low, err := e.read(from[0], half)
	if err != nil {
		return "", err
	}
	high, err := e.read(from[1], half)
	if err != nil {
		return "", err
	}
	return e.write(in.args[0], typ, fmt.Sprintf("(%[1]s)%[2]s | (%[1]s)%[3]s << %[4]d", cxx(typ), low, high, known[half]))
}
