// Package kernels defines the arithmetic that Ressa computes with, independent
// of the device that does it: memory ([Buffer], [Tensor]), an ordered queue of
// operations ([Stream]) and the arguments of every operation, with the checks
// that all backends share.
//
// It guarantees the contract of each operation: shapes, dtypes, what is
// overwritten and what accumulated, and in which order sums are formed where
// that order is visible in the last bit. Every backend gives identical bits for
// identical arguments on every run and for any number of threads; two backends
// agree only within the tolerances of package kerneltest.
//
// It does not choose a backend, know what a model is, or hold any state. The
// backends are the sub-packages reference (plain Go, what the others are tested
// against), cpu (C with AVX-512 and AVX2 variants) and cuda (NVIDIA GPUs). Package
// trainer and what lies below it are the callers.
package kernels
