package ptx

import (
	"fmt"
	"slices"
	"strings"
)

// form is an opcode that is a function of its operands: `call` of host/arithmetic.h.
type form struct {
	call  string
	types []string // that it is known with, as written behind the opcode
	// operands are the types of the result and of the operands: t is the first of the
	// instruction's types, s the second, w twice as wide as t. A line at the end is
	// for messages.
	operands string
}

func of(types string) []string { return strings.Fields(types) }

var (
	words    = of("s32 u32 s64 u64")
	integers = of("s16 u16 s32 u32 s64 u64")
	untyped  = of("b16 b32 b64")
	logical  = slices.Concat(of("pred"), untyped)
	floats   = of("f32 f64")
	single   = of("f32")
	numbers  = slices.Concat(integers, floats)
	values   = slices.Concat(numbers, untyped)
	all      = slices.Concat(values, of("pred"))
)

// forms is the table of opcodes without side effects. Rounding is to nearest even
// everywhere, nothing is flushed to zero.
var forms = map[string]form{
	"mov":  {"", all, "t t"},
	"selp": {"select", values, "t t t pred"},

	"add":      {"add", integers, "t t t"},
	"sub":      {"subtract", integers, "t t t"},
	"mul.lo":   {"multiply_low", integers, "t t t"},
	"mul.hi":   {"multiply_high", words, "t t t"},
	"mul.wide": {"multiply_wide", of("s16 u16 s32 u32"), "w t t"},
	"mad.lo":   {"multiply_add_low", words, "t t t t"},
	"mad.wide": {"multiply_add_wide", of("s32 u32"), "w t t w"},
	"div":      {"divide", words, "t t t line"},
	"rem":      {"remainder", words, "t t t line"},
	"neg":      {"negate", of("s16 s32 s64 f32 f64"), "t t"},
	"abs":      {"absolute", of("s32 s64 f32 f64"), "t t"},
	"min":      {"least", numbers, "t t t"},
	"max":      {"greatest", numbers, "t t t"},
	"max.NaN":  {"greatest_or_nan", single, "t t t"},
	"min.NaN":  {"least_or_nan", single, "t t t"},

	"and":  {"both", logical, "t t t"},
	"or":   {"either", logical, "t t t"},
	"xor":  {"differing", logical, "t t t"},
	"not":  {"inverse", logical, "t t"},
	"shl":  {"shift_left", untyped, "t t u32"},
	"shr":  {"shift_right", slices.Concat(integers, untyped), "t t u32"},
	"popc": {"ones", of("b32 b64"), "u32 t"},
	"clz":  {"leading_zeros", of("b32 b64"), "u32 t"},
	"brev": {"reversed", of("b32 b64"), "t t"},
	"bfi":  {"inserted", of("b32 b64"), "t t t u32 u32"},
	"bfe":  {"extracted", of("u32 u64"), "t t u32 u32"},
	"prmt": {"permuted", of("b32"), "t t t t"},

	"add.rn":  {"add_rn", floats, "t t t"},
	"sub.rn":  {"subtract_rn", floats, "t t t"},
	"mul.rn":  {"multiply_rn", floats, "t t t"},
	"fma.rn":  {"fma_rn", floats, "t t t t"},
	"div.rn":  {"divide_rn", floats, "t t t"},
	"rcp.rn":  {"reciprocal_rn", floats, "t t"},
	"sqrt.rn": {"root_rn", floats, "t t"},

	"setp.eq": {"equal", values, "pred t t"},
	"setp.ne": {"unequal", values, "pred t t"},
	"setp.lt": {"less", numbers, "pred t t"},
	"setp.le": {"at_most", numbers, "pred t t"},
	"setp.gt": {"more", numbers, "pred t t"},
	"setp.ge": {"at_least", numbers, "pred t t"},
	// True also where an operand is NaN.
	"setp.equ": {"!unequal", floats, "pred t t"},
	"setp.neu": {"!equal", floats, "pred t t"},
	"setp.ltu": {"!at_least", floats, "pred t t"},
	"setp.leu": {"!more", floats, "pred t t"},
	"setp.gtu": {"!at_most", floats, "pred t t"},
	"setp.geu": {"!less", floats, "pred t t"},
	"setp.nan": {"unordered", floats, "pred t t"},
	"setp.num": {"!unordered", floats, "pred t t"},

	"cvt.rn.bf16x2": {"two_bf16", single, "b32 t t"}, // the first operand becomes the high half
	"cvt": {"converted<%s>", of("u16.u32 u32.u16 s32.s16 u32.s16 u32.u64 u64.u32 s64.s32 s32.s64 u16.u64 u64.u16 s16.s8 s32.s8 u32.u8 u16.u8 " +
		"f64.f32"), "t s"},
	"cvt.rn":  {"converted<%s>", of("f32.s32 f32.u32 f32.s64 f32.u64 f32.f64 f64.s32 f64.u32 f64.s64 f64.u64"), "t s"},
	"cvt.rni": {"nearest", of("f32.f32 f64.f64"), "t s"},
}

// emit writes the call.
func (f form) emit(e *emitter, in instruction) (string, error) {
	operands, line := strings.CutSuffix(f.operands, " line")
	kinds := strings.Fields(operands)
	if len(in.args) != len(kinds) {
		return "", fmt.Errorf("%d operands, want %d", len(in.args), len(kinds))
	}
	wider := make([]bool, len(kinds)) // whether a register may be wider than what is read of it
	for i, k := range kinds {
		switch k {
		case "t":
			kinds[i] = in.types[0]
		case "s":
			kinds[i], wider[i] = in.types[1], true
		case "w":
			kinds[i] = fmt.Sprintf("%c%d", in.types[0][0], 2*known[in.types[0]])
		}
	}
	var args []string
	for i, k := range kinds[1:] {
		read := e.read
		if wider[i+1] {
			read = e.stored
		}
		a, err := read(in.args[i+1], k)
		if err != nil {
			return "", err
		}
		args = append(args, a)
	}
	if line {
		args = append(args, fmt.Sprint(in.line))
	}
	call := f.call
	if strings.Contains(call, "%s") {
		call = fmt.Sprintf(call, cxx(kinds[0]))
	}
	return e.write(in.args[0], kinds[0], fmt.Sprintf("%s(%s)", call, strings.Join(args, ", ")))
}
