//go:build cgo && linux

package openblas

/*
#cgo CFLAGS: -std=c11 -O2 -D_GNU_SOURCE
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

typedef void (*sgemm_function)(int order, int ta, int tb, int m, int n, int k,
	float alpha, const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

static void call_sgemm(void *f, int ta, int tb, int m, int n, int k,
	const void *a, int lda, const void *b, int ldb, float beta, void *c, int ldc)
{
	((sgemm_function)f)(101, ta ? 112 : 111, tb ? 112 : 111, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);
}
static void call_set_threads(void *f, int n) { ((void (*)(int))f)(n); }
static const char *call_text(void *f) { return ((char *(*)(void))f)(); }
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// Library is a loaded OpenBLAS. It stays loaded until the process ends.
type Library struct {
	sgemm, setThreads unsafe.Pointer
	core, config      string
}

// Load loads OpenBLAS with the core that fits this processor. It overwrites
// OPENBLAS_CORETYPE: a variable that names an older core would make the yardstick
// short. The setting stays in the process's C environment.
func Load() (*Library, error) {
	variable, value := C.CString("OPENBLAS_CORETYPE"), C.CString(coreType())
	defer C.free(unsafe.Pointer(variable))
	defer C.free(unsafe.Pointer(value))
	C.setenv(variable, value, 1)
	names := []string{"libopenblas.so.0", "libopenblas.so", "libopenblasp.so.0"}
	for _, name := range names {
		c := C.CString(name)
		h := C.dlopen(c, C.RTLD_NOW|C.RTLD_LOCAL)
		C.free(unsafe.Pointer(c))
		if h != nil {
			return open(h, name)
		}
	}
	return nil, fmt.Errorf("openblas: none of %q can be loaded (%s); install it with: apt install libopenblas0-pthread",
		names, C.GoString(C.dlerror()))
}

// coreType names the kernels that fit this processor; empty lets the library choose.
func coreType() string {
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL {
		return "SKYLAKEX"
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		return "HASWELL"
	}
	return ""
}

func open(h unsafe.Pointer, name string) (*Library, error) {
	var missing error
	symbol := func(s string) unsafe.Pointer {
		c := C.CString(s)
		defer C.free(unsafe.Pointer(c))
		p := C.dlsym(h, c)
		if p == nil {
			missing = errors.Join(missing, fmt.Errorf("openblas: %s has no symbol %s", name, s))
		}
		return p
	}
	l := &Library{sgemm: symbol("cblas_sgemm"), setThreads: symbol("openblas_set_num_threads")}
	core, config := symbol("openblas_get_corename"), symbol("openblas_get_config")
	if missing != nil {
		return nil, missing
	}
	l.core, l.config = C.GoString(C.call_text(core)), C.GoString(C.call_text(config))
	return l, nil
}

// Core returns the processor core whose kernels the library chose.
func (l *Library) Core() string { return l.core }

// Config returns the library's version and build options.
func (l *Library) Config() string { return l.config }

// SetThreads sets how many threads the library computes with.
func (l *Library) SetThreads(n int) { C.call_set_threads(l.setThreads, C.int(n)) }

// Matrix is a row-major float32 operand: its address and the floats from one
// row to the next.
type Matrix struct {
	Data   unsafe.Pointer
	Stride int
}

// Sgemm writes C (m, n) = op(A)·op(B) + beta·C, op being the transpose where asked.
// With a beta of 0 C is not read.
func (l *Library) Sgemm(transA, transB bool, m, n, k int, a, b Matrix, beta float32, c Matrix) {
	C.call_sgemm(l.sgemm, flag(transA), flag(transB), C.int(m), C.int(n), C.int(k),
		a.Data, C.int(a.Stride), b.Data, C.int(b.Stride), C.float(beta), c.Data, C.int(c.Stride))
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}
