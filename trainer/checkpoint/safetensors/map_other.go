//go:build !unix

package safetensors

import "os"

// mapFile reads the file where it cannot be mapped.
func mapFile(path string) (bytes []byte, unmap func() error, err error) {
	bytes, err = os.ReadFile(path)
	return bytes, func() error { return nil }, err
}
