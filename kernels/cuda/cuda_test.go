//go:build cgo && linux

package cuda

import (
	commandline "flag"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cuda/shim"
	"ressa/kernels/cuda/source"
	"ressa/kernels/kerneltest"
)

// library makes the tests that do not need the shim's own checks run elsewhere.
var library = commandline.String("cuda.library", "", "run on this libcuda, libcuda.so.1 is the driver's, with the embedded kernels instead of on the shim")

// onShim returns options for a device on the shim, whose kernels are compiled in.
func onShim(t testing.TB) Options {
	t.Helper()
	if *library != "" {
		t.Skip("needs what only the shim checks, not " + *library)
	}
	return Options{
		Library: shim.Build(t),
		Staging: 64 << 10, // so that transfers come round
		Objects: func(int, int) (source.Images, error) {
			return source.Images{Architecture: "sm_80", Compiler: "shim", Modules: []source.Module{{Image: []byte("any")}}}, nil
		},
	}
}

// onDevice returns options for a device where -cuda.library says, or on the shim.
func onDevice(t testing.TB) Options {
	t.Helper()
	if *library == "" {
		return onShim(t)
	}
	return Options{Library: *library, Staging: 64 << 10}
}

func openDevice(t testing.TB, o Options) *Device {
	t.Helper()
	d, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// rounding returns options for a device whose products round their operands.
func rounding(o Options) Options {
	o.Compute = kernels.BF16
	return o
}

// Each buffer is an allocation of its own for one of the two, so that the shim sees
// every access outside a buffer.
func TestOnShim(t *testing.T) {
	cached, exact := onShim(t), onShim(t)
	exact.Uncached = true
	opening := func(o Options) func() kernels.Device {
		return func() kernels.Device { return openDevice(t, o) }
	}
	kerneltest.Run(t, opening(exact), kerneltest.Peer{Name: "cached", Open: opening(cached)})
}

// Operands that bfloat16 can represent lose nothing, so the tolerances stay.
func TestRoundingOnShim(t *testing.T) {
	o := rounding(onShim(t))
	o.Uncached = true
	kerneltest.Table{Factors: kernels.BF16}.Run(t, func() kernels.Device { return openDevice(t, o) })
}
