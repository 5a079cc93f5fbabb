package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"ressa/kernels/cuda/source"
)

// Lines of ptxas 12.4.
const ptxasLog = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'adamw' for 'sm_80'
ptxas info    : Function properties for adamw
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 28 registers, 592 bytes cmem[0]
ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to insufficient register resources in function 'gemm'
ptxas info    : Compiling entry function 'gemm' for 'sm_80'
ptxas info    : Function properties for gemm
    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8192 bytes smem, 432 bytes cmem[0]
ptxas info    : Function properties for apart
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
`

func TestUsageIsWhatPtxasReports(t *testing.T) {
	got, warnings, err := parseUsage(ptxasLog)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]source.Usage{"adamw": {Registers: 28}, "gemm": {Registers: 255, Spills: 28, Stack: 24, Shared: 8192}}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "C7510") {
		t.Errorf("warnings %q, want the line on wgmma", warnings)
	}
	for _, log := range []string{"", "ptxas info    : Compiling entry function 'k' for 'sm_80'\n"} {
		if _, _, err := parseUsage(log); err == nil {
			t.Errorf("%q is taken for a complete report", log)
		}
	}
}

func TestDirectives(t *testing.T) {
	for _, c := range []struct {
		text   string
		hopper bool
		hot    []string
		err    string
	}{
		{"/* gemm */\n//compile: sm_90a\n", false, nil, ""},
		{"//compile: sm_90a hot=gemm_*,fold\nrest", true, []string{"gemm_*", "fold"}, ""},
		{"//compile: sm_100", false, nil, `a.cu: first line says "sm_100", want sm_90a or hot=KERNEL,…`},
		{"//compile: hot=", false, nil, `a.cu: hot="" is not a pattern of kernels`},
		{"//compile: hot=[", false, nil, `a.cu: hot="[" is not a pattern of kernels`},
	} {
		d, err := parseDirective("a.cu", []byte(c.text))
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%q: error %v, want %s", c.text, err, c.err)
			}
			continue
		}
		if err != nil || d.hopper != c.hopper || !slices.Equal(d.hot, c.hot) {
			t.Errorf("%q: %+v, %v", c.text, d, err)
		}
	}
	d := directive{hot: []string{"gemm_*", "fold"}}
	if !d.isHot("gemm_nt") || !d.isHot("fold") || d.isHot("fold_sums") {
		t.Error("patterns do not fit as path.Match fits them")
	}
	if got := d.unmatched([]string{"gemm_nt", "norm"}); got != "fold" {
		t.Errorf("%q fits no kernel, want fold", got)
	}
}
