// Package openblas calls the sgemm of an OpenBLAS that is installed on the
// machine, as the yardstick for our own kernels. The library is loaded at run
// time; nothing depends on it being there.
//
// It guarantees that the library was told which core to use before it started
// (it takes new processors for old ones and is then several times slower), and
// reports the core that it chose. It is for benchmarks: no product code computes
// with it. With CGO_ENABLED=0 or off Linux, [Load] reports that it cannot.
package openblas
