package ptx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Unit is a kernel in C++.
type Unit struct {
	Kernel string
	Text   []byte
}

// Translate returns the kernels of a module; name is what messages call it.
func Translate(name string, image []byte) ([]Unit, error) {
	kernels, err := parse(string(image))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(kernels) == 0 {
		return nil, fmt.Errorf("%s: no kernel in %d bytes of PTX", name, len(image))
	}
	var units []Unit
	for _, k := range kernels {
		text, err := k.translate(name)
		if err != nil {
			return nil, fmt.Errorf("%s: kernel %s: %w", name, k.name, err)
		}
		units = append(units, Unit{k.name, text})
	}
	return units, nil
}

var errUnknown = errors.New("the instruction is not known")

// emitter writes one kernel.
type emitter struct {
	scopes  []registers       // the kernel's own, then those of braces that are open
	used    map[string]string // variables of the kernel's own registers, with their types
	symbols map[string]string // what a name stands for, in C++
	out     strings.Builder
}

func (k kernel) translate(module string) ([]byte, error) {
	e := &emitter{scopes: []registers{{}}, used: map[string]string{}, symbols: map[string]string{k.parameter: "parameter_from"}}
	shared := k.place(e.symbols)
	for _, st := range k.body {
		if err := e.statement(st); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", st.line, st.text, err)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "static const char module[] = %q;\nconstexpr unsigned parameter_bytes = %d;\n#include \"ptx.h\"\n", module, k.bytes)
	fmt.Fprintf(&b, "static void body(const void *arguments)\n{\n\tparameter = (const u8 *)arguments;\n")
	for _, v := range slices.Sorted(maps.Keys(e.used)) {
		fmt.Fprintf(&b, "\t%s %s;\n", e.used[v], v)
	}
	fmt.Fprintf(&b, "%s}\nstatic ptx::kernel entry(%q, parameter_bytes, body, %d, %t, %d);\n", e.out.String(), k.name, k.threads, k.exact, shared)
	return []byte(b.String()), nil
}

// place lays out shared memory, dynamic variables behind all others, and returns the
// bytes before these.
func (k kernel) place(symbols map[string]string) int {
	at := 0
	named := func(v variable) bool {
		return slices.ContainsFunc(k.body, func(st statement) bool { return strings.Contains(st.text, v.name) })
	}
	for _, dynamic := range []bool{false, true} {
		for _, v := range k.shared {
			if v.dynamic == dynamic && named(v) {
				at = (at + v.align - 1) / v.align * v.align
				symbols[v.name] = fmt.Sprintf("shared_from + %d", at)
				at += v.bytes
			}
		}
	}
	return at
}

func (e *emitter) statement(st statement) error {
	switch {
	case st.text == "{":
		e.scopes = append(e.scopes, registers{})
		e.out.WriteString("\t{\n")
		return nil
	case st.text == "}":
		e.scopes = e.scopes[:len(e.scopes)-1]
		e.out.WriteString("\t}\n")
		return nil
	case strings.HasSuffix(st.text, ":"):
		fmt.Fprintf(&e.out, "%s:;\n", target(strings.TrimSuffix(st.text, ":")))
		return nil
	case strings.HasPrefix(st.text, ".pragma "): // how much is unrolled, and no more
		return nil
	case strings.HasPrefix(st.text, ".reg "):
		return e.declare(st)
	case strings.HasPrefix(st.text, "."):
		return fmt.Errorf("the directive is not known")
	}
	in, err := st.instruction()
	if err != nil {
		return err
	}
	text, err := e.instruction(in)
	if err != nil {
		return err
	}
	if in.guard != "" {
		p, err := e.read(strings.TrimPrefix(in.guard, "!"), "pred")
		if err != nil {
			return err
		}
		if in.guard[0] == '!' {
			p = "!" + p
		}
		text = fmt.Sprintf("if (%s) { %s }", p, text)
	}
	fmt.Fprintf(&e.out, "\t%s\n", text)
	return nil
}

// declare notes registers. Those of an inner scope are declared where they stand.
func (e *emitter) declare(st statement) error {
	inner := registers{}
	if err := inner.declare(st); err != nil {
		return err
	}
	scope := e.scopes[len(e.scopes)-1]
	for name, r := range inner {
		scope[name] = r
		if len(e.scopes) == 1 {
			continue
		}
		if r.count > 0 {
			return fmt.Errorf("a range of registers in an inner scope is not known")
		}
		fmt.Fprintf(&e.out, "\t%s v%s;\n", r.typ, strings.TrimPrefix(name, "%"))
	}
	return nil
}

// target is a label in C++.
func target(name string) string { return strings.ReplaceAll(name, "$", "at") }

// instruction returns an instruction's C++ statements.
func (e *emitter) instruction(in instruction) (string, error) {
	if s := strings.SplitN(in.opcode, ".", 2)[0]; s == "ld" || s == "st" {
		return e.access(in)
	}
	if f, ok := others[in.name]; ok {
		return f(e, in)
	}
	f, ok := forms[in.opcode]
	if !ok || !slices.Contains(f.types, strings.Join(in.types, ".")) {
		return "", errUnknown
	}
	if in.opcode == "mov" && (strings.HasPrefix(in.args[0], "{") || strings.HasPrefix(in.args[len(in.args)-1], "{")) {
		return e.pack(in)
	}
	return f.emit(e, in)
}
