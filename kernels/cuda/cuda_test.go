//go:build cgo && linux

package cuda

import (
	"reflect"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cuda/shim"
	"ressa/kernels/kerneltest"
)

// onShim returns options for a device on the shim, whose kernels are compiled in.
func onShim(t testing.TB) Options {
	t.Helper()
	return Options{
		Library: shim.Build(t),
		Staging: 64 << 10, // so that transfers come round
		Objects: func(int, int) (Objects, error) {
			return Objects{Architecture: "sm_80", Compiler: "shim", Images: [][]byte{[]byte("any")}}, nil
		},
	}
}

func openDevice(t testing.TB, o Options) *Device {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// missing are the operations that no kernel computes yet. They lie one level deeper
// than those of a Stream, so that calling one fails and no other is hidden.
type missing struct{ kernels.Stream }

type partialStream struct {
	*Stream
	missing
}

type partialDevice struct{ *Device }

func (d partialDevice) NewStream() (kernels.Stream, error) {
	s, err := d.Device.NewStream()
	return partialStream{s, missing{}}, err
}

// operations are the methods of kernels.Stream that a Stream has.
func operations() (names []string) {
	all, own := reflect.TypeFor[kernels.Stream](), reflect.TypeFor[*Stream]()
	for i := range all.NumMethod() {
		if _, ok := own.MethodByName(all.Method(i).Name); ok {
			names = append(names, all.Method(i).Name)
		}
	}
	return names
}

// Each buffer is an allocation of its own for one of the two, so that the shim sees
// every access outside a buffer.
func TestOnShim(t *testing.T) {
	cached, exact := onShim(t), onShim(t)
	exact.Uncached = true
	open := func(o Options) func() kernels.Device {
		return func() kernels.Device { return partialDevice{openDevice(t, o)} }
	}
	kerneltest.RunOnly(t, operations(), open(exact), kerneltest.Peer{Name: "cached", Open: open(cached)})
}
