package ptx

import (
	"strings"
	"testing"
)

// module is PTX with one kernel of these lines, the first of which is line 10.
func module(body string) string {
	return ".version 8.4\n.target sm_80\n.address_size 64\n.extern .shared .align 128 .b8 dynamic[];\n.visible .entry k(\n" +
		"\t.param .align 8 .b8 k_param_0[40]\n)\n.maxntid 256, 1, 1\n{\n" + body + "\n}\n"
}

const someRegisters = ".reg .pred %p<4>; .reg .b16 %rs<4>; .reg .b32 %r<9>; .reg .b64 %rd<4>; .reg .f32 %f<9>;\n"

// Whatever is not known is an error that names it and its line.
func TestUnknownPTXIsRefused(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"frob.s32 %r1, %r2;", "line 11: frob.s32 %r1, %r2: the instruction is not known"},
		{"add.ftz.f32 %f1, %f2, %f3;", "add.ftz.f32 %f1, %f2, %f3: the instruction is not known"},
		{"add.f32 %f1, %f2, %f3;", "not known"}, // without rounding: the compiler may contract it
		{"fma.rz.f32 %f1, %f2, %f3, %f1;", "not known"},
		{"div.approx.f32 %f1, %f2, %f3;", "not known"},
		{"add.sat.s32 %r1, %r2, %r3;", "not known"},
		{"add.s8 %r1, %r2, %r3;", "not known"},
		{"ld.local.f32 %f1, [%rd1];", "not known"},
		{"ld.volatile.global.f32 %f1, [%rd1];", "not known"},
		{"ld.global.v3.f32 {%f1, %f2, %f3}, [%rd1];", "not known"},
		{"st.param.f32 [%rd1], %f1;", "not known"},
		{"atom.global.add.u32 %r1, [%rd1], %r2;", "not known"},
		{"shfl.bfly.b32 %r1, %r2, 1, 31;", "not known"},
		{"mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2}, {%r3}, {%f1,%f2,%f3,%f4};", "not known"},
		{"ldmatrix.sync.aligned.m8n8.x4.b16 {%r1,%r2,%r3,%r4}, [%rd1];", "not known"},
		{".local .align 4 .b8 __local_depot0[16];", "the directive is not known"},
		{".shared .align 4 .f32 x[16];", `line 11: declaration ".shared .align 4 .f32 x[16]" is not known`},
		{"add.s32 %r1, %r2, %r10;", "register %r10 is not declared"},
		{"add.s32 %r1, %r2, %rd3;", "%rd3 has 64 bits and is read as s32"},
		{"add.s64 %r1, %rd2, %rd3;", "%r1 has 32 bits and is given s64"},
		{"add.s32 %r1, %r2;", "2 operands, want 3"},
		{"add.s32 %r1, %r2, 1.5;", `operand "1.5" is no s32`},
		{"add.rn.f32 %f1, %f2, 0f3F8;", `operand "0f3F8" is no f32`},
		{"mov.u32 %r1, %clock;", "register %clock is not declared"},
		{"ld.global.v2.f32 {%f1, %f2, %f3}, [%rd1];", "3 elements, want 2"},
		{"ld.global.f32 %f1, %rd1;", "want an address in brackets"},
		{"ld.global.f32 %f1, [%f2];", "the address %f2 has the type f32"},
		{"cp.async.cg.shared.global [%r1], [%rd1], 8;", "want two addresses, 16"},
		{"bar.sync 0, 64;", "2 operands, want 1"},
		{"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2}, {%r3,%r4}, {%f1,%f2,%f3,%f4};", "a vector of 2, want 4"},
	} {
		_, err := Translate("some.ptx", []byte(module(someRegisters+c.body)))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "some.ptx: ") {
			t.Errorf("%s: got %v, want %q", c.body, err, c.want)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"", "no kernel in 0 bytes"},
		{".version 8.4\n.global .align 4 .b8 g[4];\n", `line 2: ".global .align 4 .b8 g[4]" is not known outside a kernel`},
		{strings.Replace(module("ret;"), ".maxntid", ".maxnreg", 1), `directive ".maxnreg 256, 1, 1" is not known`},
		{strings.Replace(module("ret;"), ".b8 k_param_0[40]", ".u64 k_param_0", 1), "want one parameter of bytes"},
		{strings.TrimSuffix(module("ret;"), "}\n"), "kernel k has no end"},
		{module("ret"), "the text ends within a statement"},
	} {
		if _, err := Translate("some.ptx", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// Static variables lie apart at their alignment, the dynamic one behind them.
func TestSharedMemoryIsLaidOut(t *testing.T) {
	text := module(".shared .align 16 .b8 a[20];\n.shared .align 32 .b8 b[8];\n.reg .b64 %rd<4>;\n" +
		"mov.u64 %rd1, a;\nmov.u64 %rd2, b;\nmov.u64 %rd3, dynamic;\nret;")
	units, err := Translate("some.ptx", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got := string(units[0].Text)
	for _, want := range []string{"vrd1 = ((u64)(shared_from + 0));", "vrd2 = ((u64)(shared_from + 32));", "vrd3 = ((u64)(shared_from + 128));",
		`entry("k", parameter_bytes, body, 256, false, 128);`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// Bounds of a block, and registers of an inner scope that hide others.
func TestKernelsAreRead(t *testing.T) {
	text := strings.Replace(module(someRegisters+"{\n.reg .b64 %r1;\nmov.u64 %r1, 1;\n}\nmov.u32 %r1, 2;\nret;"), ".maxntid 256, 1, 1",
		".reqntid 128, 1, 1\n.minnctapersm 2", 1)
	units, err := Translate("some.ptx", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got := string(units[0].Text)
	for _, want := range []string{"\tu64 vr1;\n\tvr1 = ((u64)0x1ull);\n", "\tu32 vr1;\n", "\tvr1 = ((u32)0x2ull);\n", "body, 128, true, 0);"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
