// Command gpucheck checks Ressa on a machine with a GPU that has the driver, maybe
// PyTorch, and nothing else: it runs binaries that were built elsewhere and lie beside
// it (`make gpu-check-binaries`), and prints a page.
//
// It guarantees that each step has a deadline, that one that fails or hangs stops no
// other, that what a step started ends with it, and that the exit code is 0 only where
// every step that could run passed. What is not there, a sanitizer or PyTorch, is said
// and fails nothing; without a GPU the steps that need one are not run. Figures that it
// prints were measured then and there.
//
// It computes nothing itself: kernels are held to the reference by the tests of package
// cuda, repairs are made by ressa, and times are those of `ressa bench gpu`. docs/gpu.md
// explains the page.
package main
