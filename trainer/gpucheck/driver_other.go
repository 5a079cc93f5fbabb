//go:build !cgo || !linux

package main

import "ressa/kernels/cuda/driver"

func driverVersion(library string) (string, error) {
	_, err := driver.Open(library)
	return "", err
}
