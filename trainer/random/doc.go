// Package random is a counter-based random number generator: every number is a
// pure function of (seed, step, microbatch, site, index). It holds no state that
// a checkpoint would have to save, and any rank of any node draws the same
// numbers for the same work.
//
// The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel Random
// Numbers: As Easy as 1, 2, 3", SC'11), held to the known-answer vectors of the
// authors' Random123 library. Float32 conversions are exact; Normal uses this
// package's own arithmetic on float64 with explicit rounding of every product, so
// that it has the same bits on every architecture.
//
// It is not for cryptography. It is called by weight and adapter
// initialisation, sampling in generation, and the demo's data.
package random
