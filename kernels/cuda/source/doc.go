// Package source holds the CUDA kernels and what the pinned compiler made of them:
// compressed cubins for every architecture that is built for, PTX for the rest, and
// a manifest that ties both to the sources by SHA-256.
//
// It guarantees that [Load] gives the objects that the manifest names, and its tests
// that they are those of the sources beside them. It does not compile (command
// kernels/cuda/compile does, by go generate) and knows nothing of a driver. Package
// kernels/cuda is the caller.
package source

//go:generate go run ../compile
