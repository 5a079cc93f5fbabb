//go:build cgo

package cpu

import (
	"testing"

	"ressa/kernels"
	"ressa/kernels/kerneltest"
)

func TestTable(t *testing.T) {
	everyVariant(t, func(t *testing.T, variant string) {
		open := func(threads int) kernels.Device {
			d, err := Open(Options{Variant: variant, Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		kerneltest.Run(t, func() kernels.Device { return open(2) })
		kerneltest.RunThreads(t, open)
	})
}
