//go:build cgo && linux

package main

import (
	"fmt"

	"ressa/kernels/cuda/driver"
)

// driverVersion is the release of the driver and the newest CUDA that it supports.
func driverVersion(library string) (string, error) {
	l, err := driver.Open(library)
	if err != nil {
		return "", err
	}
	release, err := l.Release()
	if err != nil {
		return "", err
	}
	major, minor, err := l.Version()
	return fmt.Sprintf("%s (CUDA %d.%d)", release, major, minor), err
}
