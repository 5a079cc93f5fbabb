// Package cpu computes on the processor with C kernels: one source for every
// operation, compiled for AVX-512, for AVX2 with FMA, and for the plain
// architecture, of which [Open] picks one at run time.
//
// It guarantees the contract of package kernels. How an operation is divided
// into tasks depends on its shape alone, tasks write disjoint memory, and
// partial sums are added in index order, so that results have the same bits for
// any number of threads. The variants differ from each other in the last bits;
// [kernels.Device.Kind] names the variant, the version of the kernel set and
// the compiler. No kernel uses fast-math or lets the compiler contract products
// into sums; where a product is fused, the source says so.
//
// It does not work without cgo: the package then compiles, and Open says that
// there are no C kernels, so that the caller can fall back to package
// kernels/reference. It holds no model, no layout of parameters and no policy.
//
// A stream executes an operation before the call returns, in the calling
// goroutine, with the help of idle workers of the device. DESIGN.md explains
// how a kernel is written and added.
package cpu
