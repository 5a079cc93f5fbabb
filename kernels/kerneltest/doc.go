// Package kerneltest holds every backend to one table of cases: [Run] computes
// each case on a device and on package reference and compares them within the
// tolerance of the operation ([Tolerances], with the reason for each), and demands
// the same bits of a second run and of each [Peer], such as the same device with
// another number of threads. A [Table] of its own holds a device that rounds the
// operands of products.
//
// It guarantees that every operation of [kernels.Stream] is covered, at sizes on
// and off any tile, dense and as views with offset and stride. Everything outside
// an operand's view is NaN and must come back untouched, as must all inputs;
// outputs start as NaN, so that what is not written is seen. Cases are generated
// from their names: the same table on every run.
//
// It does not measure speed and does not check the reference itself, which has
// tests of its own against finite differences. Only tests of backends call it.
package kerneltest
