//go:build cgo

package dense

import (
	"testing"

	"ressa/kernels"
	"ressa/kernels/kerneltest"
)

// The published form gives the results of ours, so that it is a fair yardstick.
func TestTheCaseTableHolds(t *testing.T) {
	if d, err := Open(Options{}); err != nil {
		t.Skip(err)
	} else {
		d.Close()
	}
	kerneltest.Run(t, func() kernels.Device {
		d, err := Open(Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}
