//go:build !cgo || !linux

package driver

import (
	"strings"
	"testing"
)

func TestOpenSaysThatItCannot(t *testing.T) {
	if _, err := Open("libcuda.so.1"); err == nil || !strings.Contains(err.Error(), "needs cgo and Linux") {
		t.Errorf("open gave %v", err)
	}
}
