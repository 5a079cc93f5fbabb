//go:build cgo && linux

package driver

/*
#cgo CFLAGS: -std=c11 -O2 -D_GNU_SOURCE
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "libcuda.h"
*/
import "C"

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"unsafe"
)

// Library is a loaded libcuda. It stays loaded until the process ends, and is safe
// for concurrent use.
type Library struct{ c *C.struct_cuda }

// Open loads libcuda from path ("libcuda.so.1" is the driver's own name) and
// initialises it. It fails where there is no driver, an old one, or no GPU.
func Open(path string) (*Library, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	runtime.LockOSThread() // what dlerror says is the thread's own
	defer runtime.UnlockOSThread()
	h := C.dlopen(name, C.RTLD_NOW|C.RTLD_LOCAL)
	if h == nil {
		return nil, fmt.Errorf("cuda: load the driver: %s", C.GoString(C.dlerror()))
	}
	// In C memory: C keeps the address of none of Go's.
	l := &Library{c: (*C.struct_cuda)(C.calloc(1, C.size_t(unsafe.Sizeof(C.struct_cuda{}))))}
	if missing := C.load_symbols(h, l.c); missing != nil {
		C.free(unsafe.Pointer(l.c))
		return nil, fmt.Errorf("cuda: %s has no %s: it is too old, or not CUDA's driver", path, C.GoString(missing))
	}
	if err := l.check("cuInit", C.call_cuInit(l.c, 0)); err != nil {
		return nil, fmt.Errorf("cuda: initialise %s: %w", path, err)
	}
	return l, nil
}

// check returns the error of a call's result.
func (l *Library) check(call string, r C.result) error {
	if r == 0 {
		return nil
	}
	if r&C.AT_SET_CURRENT != 0 {
		r &^= C.AT_SET_CURRENT
		call = "cuCtxSetCurrent"
	}
	e := &Error{Call: call, Code: int(r), Name: "CUDA_ERROR_UNNAMED", Text: "no description"}
	var text *C.char
	if C.call_cuGetErrorName(l.c, r, &text) == 0 && text != nil {
		e.Name = C.GoString(text)
	}
	if C.call_cuGetErrorString(l.c, r, &text) == 0 && text != nil {
		e.Text = C.GoString(text)
	}
	return e
}

// Version returns the newest version of CUDA that the driver supports, as 12 and 8.
func (l *Library) Version() (major, minor int, err error) {
	var v C.int
	err = l.check("cuDriverGetVersion", C.call_cuDriverGetVersion(l.c, &v))
	return int(v) / 1000, int(v) % 1000 / 10, err
}

// release finds "570.86.15" in the first line of the kernel module's version file.
var release = regexp.MustCompile(`Module[^\n]*?\s(\d+\.\d+(?:\.\d+)?)\s`)

// Release returns the release of the driver, as 570.86.15, which names its
// compiler more exactly than Version; where the kernel module does not tell, it is
// that version of CUDA, as cuda12.8.
func (l *Library) Release() (string, error) {
	major, minor, err := l.Version()
	if err != nil {
		return "", err
	}
	if raw, err := os.ReadFile("/proc/driver/nvidia/version"); err == nil {
		if m := release.FindSubmatch(raw); m != nil {
			return string(m[1]), nil
		}
	}
	return fmt.Sprintf("cuda%d.%d", major, minor), nil
}

// Devices returns the number of GPUs.
func (l *Library) Devices() (int, error) {
	var n C.int
	err := l.check("cuDeviceGetCount", C.call_cuDeviceGetCount(l.c, &n))
	return int(n), err
}

// Properties are what does not change about a GPU.
type Properties struct {
	Name            string
	UUID            string // as NVML and nvidia-smi write it: GPU-…
	Major, Minor    int    // compute capability
	Memory          int64  // bytes
	Multiprocessors int
	SharedOptin     int // the most shared memory that a block can ask for, in bytes
}

// Properties describes GPU i.
func (l *Library) Properties(i int) (Properties, error) {
	var device C.int
	if err := l.check("cuDeviceGet", C.call_cuDeviceGet(l.c, &device, C.int(i))); err != nil {
		return Properties{}, err
	}
	var name [256]C.char
	if err := l.check("cuDeviceGetName", C.call_cuDeviceGetName(l.c, &name[0], 256, device)); err != nil {
		return Properties{}, err
	}
	var memory C.size_t
	if err := l.check("cuDeviceTotalMem_v2", C.call_cuDeviceTotalMem_v2(l.c, &memory, device)); err != nil {
		return Properties{}, err
	}
	var uuid [16]byte
	if err := l.check("cuDeviceGetUuid_v2", C.call_cuDeviceGetUuid_v2(l.c, (*C.uchar)(&uuid[0]), device)); err != nil {
		return Properties{}, err
	}
	p := Properties{Name: C.GoString(&name[0]), Memory: int64(memory),
		UUID: fmt.Sprintf("GPU-%x-%x-%x-%x-%x", uuid[:4], uuid[4:6], uuid[6:8], uuid[8:10], uuid[10:])}
	for _, a := range []struct {
		number C.int // CUdevice_attribute
		value  *int
	}{{75, &p.Major}, {76, &p.Minor}, {16, &p.Multiprocessors}, {97, &p.SharedOptin}} {
		var v C.int
		if err := l.check("cuDeviceGetAttribute", C.call_cuDeviceGetAttribute(l.c, &v, a.number, device)); err != nil {
			return Properties{}, err
		}
		*a.value = int(v)
	}
	return p, nil
}
