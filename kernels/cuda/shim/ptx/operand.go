package ptx

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// cxx is a PTX type in C++; host/ptx.h declares them.
func cxx(typ string) string {
	if typ == "pred" {
		return "bool"
	}
	if typ[0] == 'b' {
		return "u" + typ[1:]
	}
	return typ
}

// registers are what one scope declares, by name or, for ranges, by prefix.
type registers map[string]struct {
	typ   string // in C++
	count int    // of a range; 0 for one register
}

var declaration = regexp.MustCompile(`^\.reg \.(\w+)\s+(%\w+)(?:<(\d+)>)?$`)

func (r registers) declare(st statement) error {
	m := declaration.FindStringSubmatch(strings.ReplaceAll(st.text, "\t", " "))
	if m == nil || known[m[1]] == 0 {
		return fmt.Errorf("line %d: declaration %q is not known", st.line, st.text)
	}
	entry := r[m[2]]
	entry.typ = cxx(m[1])
	if entry.typ[0] == 's' {
		entry.typ = "u" + entry.typ[1:]
	}
	entry.count, _ = strconv.Atoi(m[3])
	r[m[2]] = entry
	return nil
}

// find returns a register's type in C++.
func (r registers) find(name string) (typ string, ok bool) {
	if e, ok := r[name]; ok && e.count == 0 {
		return e.typ, true
	}
	prefix := strings.TrimRight(name, "0123456789")
	if n, err := strconv.Atoi(name[len(prefix):]); err == nil {
		if e, ok := r[prefix]; ok && n < e.count {
			return e.typ, true
		}
	}
	return "", false
}

// special are registers that the hardware sets; host/ptx.h has their functions.
var special = map[string]string{
	"%tid.x": "tid_x()", "%ntid.x": "ntid_x()", "%laneid": "lane()",
	"%ctaid.x": "ctaid().x", "%ctaid.y": "ctaid().y", "%ctaid.z": "ctaid().z",
	"%nctaid.x": "nctaid().x", "%nctaid.y": "nctaid().y", "%nctaid.z": "nctaid().z",
}

// register returns the C++ variable of a register, and its type there.
func (e *emitter) register(name string) (variable, typ string, err error) {
	variable = "v" + strings.TrimPrefix(name, "%")
	for i := len(e.scopes) - 1; i >= 0; i-- {
		typ, ok := e.scopes[i].find(name)
		if !ok {
			continue
		}
		if i == 0 {
			e.used[variable] = typ
		}
		return variable, typ, nil
	}
	return "", "", fmt.Errorf("register %s is not declared", name)
}

// read returns an operand as a C++ expression of a PTX type.
func (e *emitter) read(arg, typ string) (string, error) {
	want := cxx(typ)
	if s, ok := special[arg]; ok {
		if known[typ] != 32 {
			return "", fmt.Errorf("%s is read as %s, want 32 bits", arg, typ)
		}
		return "(" + want + ")" + s, nil
	}
	if strings.HasPrefix(arg, "%") {
		v, have, err := e.register(arg)
		switch {
		case err != nil:
			return "", err
		case have == want:
			return v, nil
		case width(have) != known[typ]:
			return "", fmt.Errorf("%s has %d bits and is read as %s", arg, width(have), typ)
		case have[0] == 'f' || want[0] == 'f':
			return fmt.Sprintf("bits<%s>(%s)", want, v), nil
		}
		return fmt.Sprintf("(%s)%s", want, v), nil
	}
	if at, ok := e.symbols[arg]; ok {
		if known[typ] < 32 {
			return "", fmt.Errorf("the address of %s is read as %s", arg, typ)
		}
		return fmt.Sprintf("(%s)(%s)", want, at), nil
	}
	return immediate(arg, typ)
}

// immediate returns a literal as a C++ expression of a PTX type.
func immediate(arg, typ string) (string, error) {
	want := cxx(typ)
	wrong := fmt.Errorf("operand %q is no %s", arg, typ)
	if want[0] == 'f' {
		digits, ok := strings.CutPrefix(arg, map[string]string{"f32": "0f", "f64": "0d"}[want])
		n, err := strconv.ParseUint(digits, 16, known[typ])
		if !ok || err != nil || len(digits) != known[typ]/4 {
			return "", wrong
		}
		return fmt.Sprintf("bits<%s>(u%d(%#xull))", want, known[typ], n), nil
	}
	n, err := strconv.ParseUint(arg, 0, 64)
	if err != nil {
		signed, err := strconv.ParseInt(arg, 0, 64)
		if err != nil {
			return "", wrong
		}
		n = uint64(signed)
	}
	if want == "bool" {
		return strconv.FormatBool(n != 0), nil
	}
	return fmt.Sprintf("(%s)%#xull", want, n), nil
}

// width is the bits of a C++ type.
func width(typ string) int {
	if typ == "bool" {
		return 1
	}
	n, _ := strconv.Atoi(typ[1:])
	return n
}

// write returns a C++ statement that gives a register a value of a PTX type.
func (e *emitter) write(arg, typ, value string) (string, error) {
	if arg == "_" {
		return value + ";", nil
	}
	v, have, err := e.register(arg)
	want := cxx(typ)
	switch {
	case err != nil:
		return "", err
	case width(have) != known[typ]:
		return "", fmt.Errorf("%s has %d bits and is given %s", arg, width(have), typ)
	case have != want && (have[0] == 'f' || want[0] == 'f'):
		return fmt.Sprintf("%s = bits<%s>(%s);", v, have, value), nil
	}
	return fmt.Sprintf("%s = %s;", v, value), nil
}
