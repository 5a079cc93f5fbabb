// Package reference is the plain Go backend: every operation of
// [kernels.Stream] written the way its definition reads, with sums in float64.
// It is what the fast backends are tested against, and their documentation.
//
// It guarantees the contract of package kernels and the same bits on every run
// (kind "reference-ARCH/1"). Operations run on the calling goroutine, at once, so
// that an error is known before the next operation; it is still reported by
// Synchronize only. No operation keeps more of an effective weight or a weight
// gradient than a tile.
//
// It does not try to be fast beyond what tests of small models need. Its callers
// are kerneltest, tests of the layers above, and builds without cgo.
package reference
