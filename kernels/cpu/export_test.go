//go:build cgo

package cpu

import "ressa/kernels"

// OpenSharing is Open for tests: operations of any size are shared out among
// the threads.
func OpenSharing(o Options) (kernels.Device, error) {
	d, err := Open(o)
	if err == nil {
		d.(*device).parallel = 0
	}
	return d, err
}
