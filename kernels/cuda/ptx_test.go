//go:build cgo && linux

package cuda

import (
	commandline "flag"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
	"ressa/kernels/cuda/shim"
	"ressa/kernels/cuda/source"
	"ressa/kernels/kerneltest"
)

var runPTX = commandline.Bool("cuda.ptx", false, "run the embedded PTX on the processor")

// withoutCubin is a compute capability that there is no cubin for.
const withoutCubin = "12.0"

// onPTX returns options for a device that runs the embedded PTX, each buffer an allocation
// of its own, and for one that runs the sources under the same kind; and the modules.
func onPTX(t *testing.T) (ptx, sources Options, modules []source.Module) {
	t.Helper()
	t.Setenv("RESSA_SHIM_CAPABILITY", strings.ReplaceAll(withoutCubin, ".", ""))
	images, err := source.Load(12, 0)
	if err != nil {
		t.Fatal(err)
	}
	if images.Architecture != source.PTX {
		t.Fatalf("capability %s gets %s, want PTX", withoutCubin, images.Architecture)
	}
	ptx = Options{Library: shim.BuildPTX(t, images.Modules...), Staging: 64 << 10, Uncached: true}
	sources = Options{Library: shim.Build(t), Staging: 64 << 10}
	return ptx, sources, images.Modules
}

// never returns the kernels of the modules that no device has run.
func never(modules []source.Module, devices []*Device) (names []string) {
	ran := map[string]bool{}
	for _, d := range devices {
		for name := range d.kernels {
			ran[name] = true
		}
	}
	for _, m := range modules {
		for _, k := range m.Kernels {
			if !ran[k] {
				names = append(names, k)
			}
		}
	}
	return names
}

// What NVRTC made of the sources passes the table, and gives the bits that the sources
// give by the host's compiler. Every kernel of the PTX runs.
func TestOnPTX(t *testing.T) {
	if !*runPTX {
		t.Skip("translating and running all kernels takes minutes: -cuda.ptx asks for it, as make verify-ptx does")
	}
	ptx, sources, modules := onPTX(t)
	var ran []*Device
	for _, c := range []struct {
		name  string
		table kerneltest.Table
		adapt func(Options) Options
	}{
		{"exact", kerneltest.Table{Once: true}, func(o Options) Options { return o }},
		{"rounding", kerneltest.Table{Factors: kernels.BF16, Once: true}, rounding},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := kerneltest.Peer{Name: "the sources", Open: func() kernels.Device { return openDevice(t, c.adapt(sources)) }}
			c.table.Run(t, func() kernels.Device {
				d := openDevice(t, c.adapt(ptx))
				ran = append(ran, d)
				return d
			}, peer)
		})
	}
	if names := never(modules, ran); len(names) > 0 {
		t.Errorf("kernels of the PTX that no case runs: %s", strings.Join(names, ", "))
	}
}

// Beside static shared memory a launch gets less dynamic one before it has to ask. Only
// PTX says how much of it is static.
func TestStaticSharedMemoryCounts(t *testing.T) {
	const text = ".version 8.4\n.target sm_80\n.address_size 64\n.extern .shared .align 128 .b8 dynamic[];\n" +
		".visible .entry both(\n.param .align 8 .b8 both_param_0[16]\n)\n{\n.shared .align 16 .b8 s[9216];\n.reg .b64 %rd<3>;\n" +
		"mov.u64 %rd1, s;\nmov.u64 %rd2, dynamic;\nret;\n}\n"
	o := onShim(t)
	o.Library = shim.BuildPTX(t, source.Module{Source: "both", Image: []byte(text)})
	_, s := opened(t, o)
	for _, shared := range []int{39 << 10, 41472, 48 << 10} {
		launchWith(s, "both", driver.Dim{1, 1, 1}, 32, shared, 1, &struct{ head }{})
		if err := s.Synchronize(t.Context()); err != nil {
			t.Errorf("%d bytes beside 9,216: %v", shared, err)
		}
	}
}
