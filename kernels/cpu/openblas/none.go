//go:build !cgo || !linux

package openblas

import (
	"errors"
	"unsafe"
)

// Library is a loaded OpenBLAS; there is none in this build.
type Library struct{}

// Matrix is a row-major float32 operand.
type Matrix struct {
	Data   unsafe.Pointer
	Stride int
}

// Load reports that this build cannot load libraries.
func Load() (*Library, error) {
	return nil, errors.New("openblas: this build cannot load a library (it needs cgo and Linux)")
}

// Core returns nothing.
func (*Library) Core() string { return "" }

// Config returns nothing.
func (*Library) Config() string { return "" }

// SetThreads does nothing.
func (*Library) SetThreads(int) {}

// Sgemm does nothing.
func (*Library) Sgemm(transA, transB bool, m, n, k int, a, b Matrix, beta float32, c Matrix) {}
