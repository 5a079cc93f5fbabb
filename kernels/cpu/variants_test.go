//go:build cgo

package cpu_test

import (
	"testing"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/kerneltest"
)

func TestVariants(t *testing.T) {
	for _, variant := range cpu.Variants() {
		open := func(threads int) kernels.Device {
			d, err := cpu.OpenSharing(cpu.Options{Variant: variant, Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		t.Run(variant, func(t *testing.T) {
			t.Run("Reference", func(t *testing.T) {
				kerneltest.Run(t, func() kernels.Device { return open(2) })
			})
			t.Run("Threads", func(t *testing.T) { kerneltest.RunThreads(t, open) })
		})
	}
}
