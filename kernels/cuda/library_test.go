//go:build cgo && linux

package cuda

import (
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cuda/source"
	"ressa/kernels/kerneltest"
)

// TestOnLibrary holds the embedded objects to the table of cases on the GPU of the
// library that is asked for. small is for tools that slow a GPU down: small operands,
// each an allocation of its own, whose bounds such a tool can see, and, as for what the
// driver has to compile, one device for all. Else each operation has its own, so that
// one that breaks it fails alone.
func TestOnLibrary(t *testing.T) {
	if *library == "" {
		t.Skip("-cuda.library names no libcuda")
	}
	for _, c := range []struct {
		name    string
		compute kernels.DType
		ptx     bool
		most    int
	}{
		{"fp32", kernels.F32, false, 0}, {"bf16", kernels.BF16, false, 0}, {"ptx", kernels.F32, true, 4 * smallCase},
		{"small-fp32", kernels.F32, false, smallCase}, {"small-bf16", kernels.BF16, false, smallCase},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := onDevice(t)
			o.Compute, o.Uncached = c.compute, c.most == smallCase
			compiled := c.ptx // by the driver
			o.Objects = func(major, minor int) (source.Images, error) {
				if c.ptx {
					major = 99 // of which there is no cubin
				}
				images, err := source.Load(major, minor)
				compiled = images.Architecture == source.PTX
				return images, err
			}
			open := func() *Device {
				d := openDevice(t, o)
				if strings.Contains(d.Kind(), "+jit") != compiled {
					t.Errorf("kind is %s: does the driver compile? %v", d.Kind(), compiled)
				}
				return d
			}
			opening := func() kernels.Device { return open() }
			if c.most > 0 {
				one := open()
				defer one.Close()
				opening = func() kernels.Device { return lent{one} }
			}
			kerneltest.Table{Factors: c.compute, Most: c.most}.Run(t, opening)
		})
	}
}

// lent is a device that its user cannot close.
type lent struct{ *Device }

func (lent) Close() error { return nil }

// smallCase is the most bytes of all operands of a small case.
const smallCase = 32 << 10
