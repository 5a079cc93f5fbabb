package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The bytes depend on the sources alone, not on where they lie.
func TestTheSameBytesInEveryFolder(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	c, err := open(t.Context(), filepath.Join(cache, "ressa", "cuda-compiler"))
	if err != nil {
		t.Skip(err)
	}
	header, err := os.ReadFile("../source/device.cuh")
	if err != nil {
		t.Fatal(err)
	}
	const text = "//compile: sm_90a\n#include \"device.cuh\"\n" +
		"struct scale_args { struct head head; struct view x; float by; i32 pad; };\n" +
		"KERNEL(scale, scale_args)\n{\n\tSHARED(float, s, 32);\n\ts[thread_x()] = load(a.x, 0, thread_x());\n\tbarrier();\n" +
		"\tstore(a.x, 0, thread_x(), mul_rn(s[thread_x() ^ 1], a.by));\n}\n"
	var first *result
	for range 2 {
		dir := t.TempDir()
		t.Setenv("TMPDIR", t.TempDir())
		write(t, filepath.Join(dir, "device.cuh"), string(header))
		write(t, filepath.Join(dir, "scale.cu"), text)
		r, err := build(t.Context(), c, dir)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r
			continue
		}
		a, b := must(encode(first.manifest)), must(encode(r.manifest))
		if !bytes.Equal(a, b) || !maps.EqualFunc(first.objects, r.objects, slices.Equal) {
			t.Errorf("the second folder gives other bytes:\n%s\n%s", a, b)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestOnlyThePinnedCompilerIsTaken(t *testing.T) {
	text := []byte("Cuda compilation tools, release 12.4, V12.4.131\n")
	if v, err := pinned("nvidia-cuda-nvcc-cu12", text); err != nil || v != "12.4.131" {
		t.Errorf("%q, %v", v, err)
	}
	for _, other := range []string{"release 12.4, V12.4.13", "release 12.6, V12.6.85", "nothing"} {
		if v, err := pinned("nvidia-cuda-nvcc-cu12", []byte(other)); err == nil {
			t.Errorf("%q is taken as %s", other, v)
		}
	}
}

func TestFlagsThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"more"}, 2, `compile: argument "more", want flags only`},
		{[]string{"-compiler", t.TempDir()}, 1, "(-compiler): make cuda-compiler installs it"},
	} {
		var out bytes.Buffer
		if code := command(t.Context(), c.args, &out, &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v: exit code %d, want %d\n%s", c.args, code, c.code, &out)
		}
	}
}
