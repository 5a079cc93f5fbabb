//go:build cgo

package cpu_test

import (
	"fmt"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/kerneltest"
)

// Every variant agrees with the reference where the smallest operation is shared
// out, and gives the same bits alone, among more threads than there are tasks,
// and where only large operations are shared out.
func TestVariants(t *testing.T) {
	for _, variant := range cpu.Variants() {
		opener := func(open func(cpu.Options) (kernels.Device, error), threads int) func() kernels.Device {
			return func() kernels.Device {
				d, err := open(cpu.Options{Variant: variant, Threads: threads})
				if err != nil {
					t.Fatal(err)
				}
				return d
			}
		}
		var peers []kerneltest.Peer
		for _, threads := range []int{1, 3, 8} {
			peers = append(peers, kerneltest.Peer{Name: fmt.Sprintf("%d threads instead of 2", threads), Open: opener(cpu.OpenSharing, threads)})
		}
		peers = append(peers, kerneltest.Peer{Name: "as it is shipped", Open: opener(cpu.Open, 2)})
		t.Run(variant, func(t *testing.T) { kerneltest.Run(t, opener(cpu.OpenSharing, 2), peers...) })
	}
}
