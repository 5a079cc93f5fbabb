//go:build cgo && linux

package shim_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"ressa/kernels/cuda/driver"
	"ressa/kernels/cuda/shim"
	"ressa/kernels/cuda/source"
)

const (
	nan, minusZero, one, inf = 0x7fc12345, 0x80000000, 0x3f800000, 0x7f800000
	madeNaN                  = 0x7fffffff // what a GPU makes
)

func f32(v float32) uint64 { return uint64(math.Float32bits(v)) }

// instructions are what PTX's manual says of them, by hand. Of the types, the first is
// the result's.
var instructions = []struct {
	name, types string
	in          []uint64
	want        uint64
}{
	{"add.s32", "b32 b32 b32", []uint64{0x7fffffff, 1}, 0x80000000},
	{"add.s64", "b64 b64 b64", []uint64{math.MaxUint64, 2}, 1},
	{"sub.s32", "b32 b32 b32", []uint64{0, 1}, 0xffffffff},
	{"mul.lo.s32", "b32 b32 b32", []uint64{0x10001, 0x10001}, 0x20001},
	{"mul.lo.s64", "b64 b64 b64", []uint64{1 << 40, 1<<40 + 3}, 3 << 40},
	{"mul.hi.s32", "b32 b32 b32", []uint64{0xffffffff, 0x55555556}, 0xffffffff},
	{"mul.hi.u32", "b32 b32 b32", []uint64{0xffffffff, 0x55555556}, 0x55555555},
	{"mul.wide.s32", "b64 b32 b32", []uint64{0xffffffff, 3}, math.MaxUint64 - 2},
	{"mul.wide.u32", "b64 b32 b32", []uint64{0xffffffff, 3}, 0x2fffffffd},
	{"mad.lo.s32", "b32 b32 b32 b32", []uint64{7, 0xffffffff, 9}, 2},
	{"mad.wide.s32", "b64 b32 b32 b64", []uint64{0xfffffffe, 8, 20}, 4},
	{"div.s32", "b32 b32 b32", []uint64{0xfffffff9, 2}, 0xfffffffd}, // −7 / 2 = −3
	{"div.s32", "b32 b32 b32", []uint64{0x80000000, 0xffffffff}, 0x80000000},
	{"div.u32", "b32 b32 b32", []uint64{0xfffffff9, 2}, 0x7ffffffc},
	{"rem.s32", "b32 b32 b32", []uint64{0xfffffff9, 2}, 0xffffffff},
	{"rem.s64", "b64 b64 b64", []uint64{17, 5}, 2},
	{"min.s32", "b32 b32 b32", []uint64{0xffffffff, 1}, 0xffffffff},
	{"min.u32", "b32 b32 b32", []uint64{0xffffffff, 1}, 1},
	{"max.s64", "b64 b64 b64", []uint64{math.MaxUint64, 0}, 0},
	{"neg.s64", "b64 b64", []uint64{5}, math.MaxUint64 - 4},
	{"and.b32", "b32 b32 b32", []uint64{0xff00, 0x0ff0}, 0x0f00},
	{"xor.b16", "b16 b16 b16", []uint64{0xff00, 0x0ff0}, 0xf0f0},
	{"not.b32", "b32 b32", []uint64{0x0000ffff}, 0xffff0000},
	{"shl.b32", "b32 b32 b32", []uint64{1, 31}, 0x80000000},
	{"shl.b32", "b32 b32 b32", []uint64{1, 32}, 0},
	{"shl.b64", "b64 b64 b32", []uint64{1, 32}, 1 << 32},
	{"shr.s32", "b32 b32 b32", []uint64{0x80000000, 31}, 0xffffffff},
	{"shr.s32", "b32 b32 b32", []uint64{0x80000000, 40}, 0xffffffff},
	{"shr.u32", "b32 b32 b32", []uint64{0x80000000, 31}, 1},
	{"shr.u64", "b64 b64 b32", []uint64{math.MaxUint64, 64}, 0},
	{"popc.b64", "b32 b64", []uint64{0xf0f0 << 40}, 8},
	{"clz.b64", "b32 b64", []uint64{1 << 40}, 23},
	{"clz.b32", "b32 b32", []uint64{0}, 32},
	{"brev.b32", "b32 b32", []uint64{0x0000000d}, 0xb0000000},
	{"bfi.b32", "b32 b32 b32 b32 b32", []uint64{0xab, 0x11111111, 8, 4}, 0x11111b11},
	{"bfi.b64", "b64 b64 b64 b32 b32", []uint64{0xffff, 0, 60, 8}, 0xf << 60},
	{"bfe.u32", "b32 b32 b32 b32", []uint64{0x12345678, 8, 12}, 0x456},
	{"prmt.b32", "b32 b32 b32 b32", []uint64{0x33221100, 0x77665544, 0x7610}, 0x77661100},
	{"prmt.b32", "b32 b32 b32 b32", []uint64{0x80, 0, 0x0098}, 0x808000ff}, // a selector of 8 and more takes the sign
	{"selp.b32", "b32 b32 b32 pred", []uint64{5, 6, 0}, 6},
	{"cvt.s64.s32", "b64 b32", []uint64{0xffffffff}, math.MaxUint64},
	{"cvt.u64.u32", "b64 b32", []uint64{0xffffffff}, 0xffffffff},
	{"cvt.u32.u64", "b32 b64", []uint64{0x123456789a}, 0x3456789a},
	{"cvt.s64.s32", "b64 b64", []uint64{0x1_ffff_fffe}, math.MaxUint64 - 1}, // of a wider register
	{"cvt.u16.u32", "b16 b32", []uint64{0x12345678}, 0x5678},
	{"cvt.rn.f32.s32", "f32 b32", []uint64{16777217}, f32(16777216)},
	{"cvt.rni.f32.f32", "f32 f32", []uint64{f32(2.5)}, f32(2)},
	{"mov.b32", "f32 b32", []uint64{nan}, nan},
	// The first operand becomes the high half; ties go to even, NaN loses its payload.
	{"cvt.rn.bf16x2.f32", "b32 f32 f32", []uint64{one, 0x40000000}, 0x3f804000},
	{"cvt.rn.bf16x2.f32", "b32 f32 f32", []uint64{0x3f808000, 0x3f818000}, 0x3f803f82},
	{"cvt.rn.bf16x2.f32", "b32 f32 f32", []uint64{nan, 0x7f7fffff}, 0x7fff7f80},
	{"add.rn.f32", "f32 f32 f32", []uint64{one, f32(0x1p-24)}, one},
	{"add.rn.f32", "f32 f32 f32", []uint64{inf, 0xff800000}, madeNaN},
	{"add.rn.f32", "f32 f32 f32", []uint64{1, 1}, 2}, // subnormal
	{"mul.rn.f32", "f32 f32 f32", []uint64{nan, one}, madeNaN},
	{"fma.rn.f32", "f32 f32 f32 f32", []uint64{f32(1 + 0x1p-12), f32(1 + 0x1p-12), f32(-1 - 0x1p-11)}, f32(0x1p-24)},
	{"div.rn.f32", "f32 f32 f32", []uint64{one, f32(3)}, f32(1. / 3)},
	{"sqrt.rn.f32", "f32 f32", []uint64{f32(2)}, 0x3fb504f3},
	{"sqrt.rn.f32", "f32 f32", []uint64{f32(-1)}, madeNaN},
	{"neg.f32", "f32 f32", []uint64{0}, minusZero},
	{"abs.f32", "f32 f32", []uint64{minusZero}, 0},
	{"max.f32", "f32 f32 f32", []uint64{nan, one}, one},
	{"max.f32", "f32 f32 f32", []uint64{nan, nan}, madeNaN},
	{"max.f32", "f32 f32 f32", []uint64{minusZero, 0}, 0},
	{"min.f32", "f32 f32 f32", []uint64{0, minusZero}, minusZero},
	{"max.NaN.f32", "f32 f32 f32", []uint64{one, nan}, madeNaN},
	{"min.NaN.f32", "f32 f32 f32", []uint64{one, nan}, madeNaN},
	{"min.NaN.f32", "f32 f32 f32", []uint64{one, minusZero}, minusZero},
	{"rcp.rn.f32", "f32 f32", []uint64{f32(3)}, f32(1. / 3)},
	{"add.rn.f64", "f64 f64 f64", []uint64{math.Float64bits(0.1), math.Float64bits(0.2)}, 0x3fd3333333333334},
	{"cvt.f64.f32", "f64 f32", []uint64{f32(0.5)}, math.Float64bits(0.5)},
	{"cvt.rn.f32.f64", "f32 f64", []uint64{math.Float64bits(0.1)}, f32(0.1)},
	{"setp.lt.s32", "pred b32 b32", []uint64{0xffffffff, 0}, 1},
	{"setp.lt.u32", "pred b32 b32", []uint64{0xffffffff, 0}, 0},
	{"setp.eq.s16", "pred b16 b16", []uint64{0x8000, 0x8000}, 1},
	{"setp.eq.f32", "pred f32 f32", []uint64{0, minusZero}, 1},
	{"setp.ne.f32", "pred f32 f32", []uint64{nan, one}, 0},
	{"setp.neu.f32", "pred f32 f32", []uint64{nan, one}, 1},
	{"setp.neu.f32", "pred f32 f32", []uint64{one, one}, 0},
	{"setp.equ.f32", "pred f32 f32", []uint64{nan, one}, 1},
	{"setp.leu.f32", "pred f32 f32", []uint64{nan, one}, 1},
	{"setp.leu.f32", "pred f32 f32", []uint64{one, 0}, 0},
	{"setp.geu.f32", "pred f32 f32", []uint64{one, nan}, 1},
	{"setp.geu.f32", "pred f32 f32", []uint64{0, one}, 0},
	{"setp.ge.f32", "pred f32 f32", []uint64{one, nan}, 0},
	{"setp.ltu.f32", "pred f32 f32", []uint64{one, one}, 0},
	{"setp.gtu.f32", "pred f32 f32", []uint64{one, nan}, 1},
	{"setp.nan.f32", "pred f32 f32", []uint64{nan, one}, 1},
	{"setp.num.f32", "pred f32 f32", []uint64{nan, one}, 0},
	{"and.pred", "pred pred pred", []uint64{1, 0}, 0},
	{"not.pred", "pred pred", []uint64{0}, 1},
}

// register names one of a type, in a kernel that has four of each.
func register(typ string, i int) string {
	return map[string]string{"b16": "%rs", "b32": "%r", "b64": "%rd", "f32": "%f", "f64": "%fd", "pred": "%p"}[typ] + fmt.Sprint(i)
}

const header = ".version 8.4\n.target sm_80\n.address_size 64\n"

// entry is a kernel with the probe's argument, whose first lines give %rd8 and %rd9 the
// addresses of out and in.
func entry(name, body string) string {
	return ".visible .entry " + name + "(\n.param .align 8 .b8 " + name + "_param_0[40]\n)\n.maxntid 512, 1, 1\n{\n" +
		".reg .pred %p<6>; .reg .b16 %rs<6>; .reg .b32 %r<40>; .reg .b64 %rd<12>; .reg .f32 %f<12>; .reg .f64 %fd<6>;\n" +
		"ld.param.u64 %rd8, [" + name + "_param_0+16];\nld.param.u64 %rd9, [" + name + "_param_0+24];\n" + body + "ret;\n}\n"
}

// onPTX is a rig whose kernels are those of the text.
func onPTX(t *testing.T, text string) *rig {
	t.Helper()
	return rigOf(t, shim.BuildPTX(t, source.Module{Source: "probe", Image: []byte(header + text)}))
}

func TestPTXInstructions(t *testing.T) {
	var body strings.Builder
	var in []byte
	for i, c := range instructions {
		types := strings.Fields(c.types)
		args := []string{register(types[0], 0)}
		for j, typ := range types[1:] {
			args = append(args, register(typ, j+1))
			if typ == "pred" {
				fmt.Fprintf(&body, "ld.global.b32 %%r5, [%%rd9+%d];\nsetp.ne.s32 %s, %%r5, 0;\n", len(in), args[j+1])
			} else {
				fmt.Fprintf(&body, "ld.global.%s %s, [%%rd9+%d];\n", typ, args[j+1], len(in))
			}
			in = binary.LittleEndian.AppendUint64(in, c.in[j])
		}
		fmt.Fprintf(&body, "%s %s;\n", c.name, strings.Join(args, ", "))
		if types[0] == "pred" {
			body.WriteString("selp.b32 %r0, 1, 0, %p0;\n")
			types[0], args[0] = "b32", "%r0"
		}
		fmt.Fprintf(&body, "st.global.%s [%%rd8+%d], %s;\n", types[0], 8*i, args[0])
	}
	r := onPTX(t, entry("instructions", body.String()))
	got := r.bits("instructions", 1, in, len(instructions))
	for i, c := range instructions {
		if got[i] != c.want {
			t.Errorf("%s of %x is %x, want %x", c.name, c.in, got[i], c.want)
		}
	}
}

// bits runs a kernel with so many threads on memory of its own, and returns out.
func (r *rig) bits(kernel string, threads uint32, in []byte, n int) []uint64 {
	r.t.Helper()
	size := max(len(in), 8*n)
	var err error
	for _, m := range []*driver.Memory{&r.args.in, &r.args.out} {
		*m, err = r.context.Alloc(size)
		must(r.t, err)
		must(r.t, r.stream.Set(*m, 0, size))
	}
	host, err := r.context.AllocHost(size)
	must(r.t, err)
	r.t.Cleanup(func() { must(r.t, r.context.FreeHost(host)) })
	copy(host.Bytes(), in)
	must(r.t, r.stream.CopyToDevice(r.args.in, host, 0, size))
	must(r.t, r.stream.Synchronize())
	must(r.t, r.launch(kernel, 1, threads, 0))
	must(r.t, r.stream.CopyToHost(host, 0, r.args.out, size))
	must(r.t, r.stream.Synchronize())
	out := make([]uint64, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(host.Bytes()[8*i:])
	}
	return out
}

// Each kernel does one wrong thing; its body begins at line 12 of the module.
func TestPTXFailsWhereAGPUWould(t *testing.T) {
	const shared = ".shared .align 16 .b8 s[64];\n"
	for _, c := range []struct {
		body    string
		threads uint32
		code    int
		want    string
	}{
		{"ld.global.f32 %f1, [%rd9+2048];\n", 1, driver.IllegalAddress, "out of bounds, byte 2048 to 2052 of an allocation of 2048 bytes, at probe.ptx:"},
		{"ld.global.v4.f32 {%f1,%f2,%f3,%f4}, [%rd9+8];\n", 1, 716, "address is no multiple of 16"},
		{"st.f32 [%rd8+-4], %f1;\n", 1, driver.IllegalAddress, "4 bytes before an allocation"},
		{shared + "mov.u64 %rd1, s;\nst.shared.f32 [%rd1+64], %f1;\n", 1, driver.IllegalAddress, "byte 64 to 68 of 64 bytes of shared memory"},
		{shared + "mov.u64 %rd1, s;\nst.shared.f32 [%rd1+-4], %f1;\n", 1, driver.IllegalAddress, "byte -4 to 0 of 64 bytes of shared memory"},
		{shared + "mov.u64 %rd1, s;\nst.shared.v2.f32 [%rd1+4], {%f1, %f2};\n", 1, 716, "address in shared memory is no multiple of 8"},
		{shared + "mov.u64 %rd1, s;\nst.f32 [%rd1], %f1;\n", 1, driver.IllegalAddress, "in no allocation"},
		{shared + "mov.u64 %rd1, s;\ncvta.shared.u64 %rd2, %rd1;\ncvta.to.global.u64 %rd3, %rd2;\n", 1, driver.LaunchFailed, "a shared address is taken for a global one"},
		{shared + "mov.u64 %rd1, s;\ncvta.shared.u64 %rd2, %rd1;\ncvt.u32.u64 %r1, %rd2;\nst.shared.f32 [%r1], %f1;\n", 1, driver.IllegalAddress, "of 64 bytes of shared memory"},
		{"cvta.to.shared.u64 %rd1, %rd8;\n", 1, driver.LaunchFailed, "a global address is taken for a shared one"},
		{shared + "mov.u32 %r1, s;\nadd.s32 %r1, %r1, 8;\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r2,%r3,%r4,%r5}, [%r1];\n", 32, 716, "no multiple of 16"},
		{"mov.b64 %rd1, wrong_param_0;\nld.param.u64 %rd2, [%rd1+40];\n", 1, driver.LaunchFailed, "a read outside the parameter"},
		{"mov.b64 %rd1, wrong_param_0;\nld.param.u64 %rd2, [%rd1+4];\n", 1, driver.LaunchFailed, "off its alignment"},
		{"mov.u32 %r1, 0;\ndiv.s32 %r2, %r1, %r1;\n", 1, driver.LaunchFailed, "a division by zero"},
		{"shfl.sync.bfly.b32 %r1|%p1, %r2, 1, 31, 65535;\n", 32, driver.LaunchFailed, "does not name all lanes"},
		{"mov.u32 %r1, %tid.x;\nsetp.eq.s32 %p1, %r1, 3;\n@%p1 bra $L__BB0_1;\nbar.warp.sync -1;\n$L__BB0_1:\n", 32, driver.LaunchFailed, "misses a lane: thread 3 has ended"},
		{"mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 32;\n@!%p1 bra $L__BB0_1;\nbar.sync 0;\n$L__BB0_1:\n", 64, driver.LaunchFailed, "threads part at a barrier"},
		{"mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 7;\n@!%p1 bra $L__BB0_1;\nbar.sync 0;\nret;\n$L__BB0_1:\nbar.sync 0;\n", 64, driver.LaunchFailed,
			"thread 6 waits at the barrier at probe.ptx:15, thread 7 waits at the barrier at probe.ptx:18"},
		{"mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 32;\n@!%p1 bra $L__BB0_1;\nbar.sync 0;\nret;\n$L__BB0_1:\nbar.sync 1;\n", 64, driver.LaunchFailed, "threads part at a barrier"},
		{"mov.u32 %r1, 0x44444440;\nmma.sp.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r1,%r1,%r1}, {%r1,%r1,%r1,%r1}, {%f1,%f2,%f3,%f4}, %r1, 0x0;\n", 32, driver.LaunchFailed, "metadata that names no two elements"},
		{"ret;\n", 513, 1, "a block of 513 × 1 × 1 threads, of at most 512"},
	} {
		r := onPTX(t, entry("wrong", c.body))
		_, err := r.run("wrong", 1, c.threads, 0, nil)
		if !errors.Is(err, &driver.Error{Code: c.code}) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want code %d and %q", c.body, err, c.code, c.want)
		}
	}
}

// Two warps may wait for one barrier at two instructions.
func TestPTXBarriersAreNumbered(t *testing.T) {
	r := onPTX(t, entry("two_places", "mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p1, %r1, 32;\n@!%p1 bra $L__BB0_1;\nbar.sync 0;\nret;\n$L__BB0_1:\nbar.sync 0;\n"))
	if _, err := r.run("two_places", 1, 64, 0, nil); err != nil {
		t.Error(err)
	}
}

// Static and dynamic shared memory count together, as the device has them.
func TestSharedMemoryHasItsLimits(t *testing.T) {
	t.Setenv("RESSA_SHIM_CAPABILITY", "120")
	r := onPTX(t, ".extern .shared .align 128 .b8 dynamic[];\n"+entry("much", ".shared .align 16 .b8 s[1000];\nmov.u64 %rd1, s;\nmov.u64 %rd2, dynamic;\n"))
	f, err := r.module.Function("much")
	must(t, err)
	if a, err := f.Attributes(); err != nil || a.Shared != 1024 || a.MaxThreads != 512 {
		t.Errorf("attributes %+v, %v, want 1,024 bytes of shared memory and 512 threads", a, err)
	}
	for _, c := range []struct{ optin, shared int }{{0, 47 << 10}, {98 << 10, 98 << 10}} {
		if c.optin > 0 {
			must(t, f.SetDynamicShared(c.optin))
		}
		if err := r.launch("much", 1, 32, c.shared); err != nil {
			t.Errorf("%d bytes: %v", c.shared, err)
		}
		if err := r.launch("much", 1, 32, c.shared+1); err == nil {
			t.Errorf("%d bytes of dynamic shared memory beside 1,024 were granted", c.shared+1)
		}
	}
	if err := f.SetDynamicShared(98<<10 + 1); err == nil {
		t.Error("more shared memory was allowed than the device has")
	}
}

// Lanes exchange as PTX's manual says, in whole warps and in segments.
func TestPTXShuffles(t *testing.T) {
	type mode struct {
		name string
		b, c int
		from func(lane int) (int, bool)
	}
	modes := []mode{
		{"bfly", 5, 31, func(l int) (int, bool) { return l ^ 5, true }},
		{"idx", 9, 31, func(l int) (int, bool) { return 9, true }},
		{"idx", 3, 0x181f, func(l int) (int, bool) { return l&^7 | 3, true }},
		{"up", 2, 0, func(l int) (int, bool) { return l - 2, l >= 2 }},
		{"down", 3, 0x1807, func(l int) (int, bool) { return l + 3, l%8 < 5 }},
	}
	var body strings.Builder
	body.WriteString("mov.u32 %r1, %tid.x;\nmad.lo.s32 %r2, %r1, 7, 1;\nmul.wide.u32 %rd1, %r1, 8;\nadd.s64 %rd1, %rd8, %rd1;\n")
	for i, m := range modes {
		fmt.Fprintf(&body, "shfl.sync.%s.b32 %%r3|%%p1, %%r2, %d, %d, -1;\nselp.b32 %%r4, 1, 0, %%p1;\n", m.name, m.b, m.c)
		fmt.Fprintf(&body, "st.global.v2.u32 [%%rd1+%d], {%%r3, %%r4};\n", 8*32*i)
	}
	got := onPTX(t, entry("shuffles", body.String())).bits("shuffles", 32, nil, 32*len(modes))
	for i, m := range modes {
		for lane := range 32 {
			from, reached := m.from(lane)
			want := uint64(1) << 32
			if !reached {
				from, want = lane, 0
			}
			if want |= uint64(7*from + 1); got[32*i+lane] != want {
				t.Errorf("%s %d, %#x: lane %d got %x, want %x", m.name, m.b, m.c, lane, got[32*i+lane], want)
			}
		}
	}
}

// Of two copies, the first of 8 bytes and zeros, those that were waited for are there.
func TestPTXCopiesHappenWhereTheyAreWaitedFor(t *testing.T) {
	const body = ".shared .align 16 .b8 s[32];\nmov.u32 %%r1, s;\nmov.u32 %%r2, 8;\nmov.u64 %%rd1, s;\n" +
		"cp.async.cg.shared.global [%%r1], [%%rd9], 16, %%r2;\ncp.async.commit_group;\n" +
		"cp.async.cg.shared.global [%%r1+16], [%%rd9+16], 16;\ncp.async.commit_group;\n" +
		"%s;\nld.shared.v2.u64 {%%rd2, %%rd3}, [%%rd1];\nld.shared.v2.u64 {%%rd4, %%rd5}, [%%rd1+16];\n" +
		"st.global.v2.u64 [%%rd8], {%%rd2, %%rd3};\nst.global.v2.u64 [%%rd8+16], {%%rd4, %%rd5};\n"
	in := make([]byte, 32)
	for i := range in {
		in[i] = byte(i + 1)
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(in[8*i:]) }
	const unset = math.MaxUint64
	for _, c := range []struct {
		wait string
		want [4]uint64
	}{
		{"cp.async.wait_group 2", [4]uint64{unset, unset, unset, unset}},
		{"cp.async.wait_group 1", [4]uint64{word(0), 0, unset, unset}},
		{"cp.async.wait_group 0", [4]uint64{word(0), 0, word(2), word(3)}},
		{"cp.async.wait_all", [4]uint64{word(0), 0, word(2), word(3)}},
	} {
		if got := onPTX(t, entry("copies", fmt.Sprintf(body, c.wait))).bits("copies", 1, in, 4); [4]uint64(got) != c.want {
			t.Errorf("%s: %x, want %x", c.wait, got, c.want)
		}
	}
}

// bf16 is a number that bfloat16 can represent, in its bits.
func bf16(v float32) uint32 { return math.Float32bits(v) >> 16 }

// A sparse product, its fragments filled as PTX's manual draws them, is that of the whole
// matrix: A is 16 × 32 with two of each four columns, B 32 × 8.
func TestPTXSparseProduct(t *testing.T) {
	var a [16][32]float32
	var b [32][8]float32
	var kept [16][16]float32 // what A has, row by row
	var places [16][16]uint32
	for r := range 16 {
		for four := range 8 {
			first := (r + four) % 3
			second := first + 1 + (r*four)%(3-first)
			for i, place := range []int{first, second} {
				v := float32((r*31+four*7+i*5)%23 - 11)
				a[r][4*four+place], kept[r][2*four+i], places[r][2*four+i] = v, v, uint32(place)
			}
		}
	}
	for k := range 32 {
		for c := range 8 {
			b[k][c] = float32((k*13+c*29)%19 - 9)
		}
	}
	for selector := range 2 {
		var in []byte // of each lane: 4 words of A, 4 of B, 4 of C, metadata and no more
		for lane := range 32 {
			g, t := lane/4, lane%4
			var words [16]uint32
			for i, at := range [4][2]int{{g, 2 * t}, {g + 8, 2 * t}, {g, 2*t + 8}, {g + 8, 2*t + 8}} {
				words[i] = bf16(kept[at[0]][at[1]]) | bf16(kept[at[0]][at[1]+1])<<16
				words[4+i] = bf16(b[8*i+2*t][g]) | bf16(b[8*i+2*t+1][g])<<16
			}
			for i := range 4 {
				words[8+i] = math.Float32bits(float32(100*lane + i))
			}
			if t/2 == selector {
				for i := range 8 {
					words[12] |= places[g][t%2*8+i]<<(2*i) | places[g+8][t%2*8+i]<<(16+2*i)
				}
			}
			for _, w := range words {
				in = binary.LittleEndian.AppendUint32(in, w)
			}
		}
		body := "mov.u32 %r30, %tid.x;\nmul.wide.u32 %rd1, %r30, 64;\nadd.s64 %rd1, %rd9, %rd1;\nmul.wide.u32 %rd2, %r30, 16;\nadd.s64 %rd2, %rd8, %rd2;\n" +
			"ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%rd1];\nld.global.v4.u32 {%r5,%r6,%r7,%r8}, [%rd1+16];\n" +
			"ld.global.v4.f32 {%f1,%f2,%f3,%f4}, [%rd1+32];\nld.global.u32 %r9, [%rd1+48];\n" +
			"mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r5,%r6,%r7,%r8}, " +
			fmt.Sprintf("{%%f1,%%f2,%%f3,%%f4}, %%r9, 0x%x;\n", selector) + "st.global.v4.f32 [%rd2], {%f1,%f2,%f3,%f4};\n"
		got := onPTX(t, entry("sparse", body)).bits("sparse", 32, in, 64)
		for lane := range 32 {
			for i := range 4 {
				r, c := lane/4+i/2*8, lane%4*2+i%2
				want := float32(100*lane + i)
				for k := range 32 {
					want += a[r][k] * b[k][c]
				}
				if v := math.Float32frombits(uint32(got[lane*2+i/2] >> (32 * (i % 2)))); v != want {
					t.Errorf("selector %d: (%d, %d) is %v, want %v", selector, r, c, v, want)
				}
			}
		}
	}
}
