//go:build !cgo || !linux

package driver

import "errors"

// Library is a loaded libcuda; there is none in this build.
type Library struct{}

// Open reports that this build cannot load libraries.
func Open(string) (*Library, error) {
	return nil, errors.New("cuda: this build cannot load the driver (it needs cgo and Linux)")
}
