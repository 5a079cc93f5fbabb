package cpu

import (
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/cpu"
)

// Variants returns the variants that this processor can run, best first.
func Variants() []string {
	var vs []string
	if runtime.GOARCH == "amd64" {
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasFMA {
			vs = append(vs, "avx512")
		}
		if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
			vs = append(vs, "avx2")
		}
	}
	return append(vs, "generic")
}

// pickVariant returns the variant to use, or an error when want cannot run here.
func pickVariant(want string) (string, error) {
	vs := Variants()
	if want == "" {
		return vs[0], nil
	}
	for _, v := range vs {
		if v == want {
			return v, nil
		}
	}
	return "", fmt.Errorf("cpu: variant %q is not one of %s, which this processor can run", want, strings.Join(vs, ", "))
}
