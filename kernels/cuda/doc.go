// Package cuda computes on NVIDIA GPUs of compute capability 8.0 and newer.
//
// It guarantees the contract of package kernels:
// how an operation is divided follows from its shape alone, partial sums are added
// in index order, and no value is made by atomics, so that results have the same
// bits on every run and however streams overlap. [Device.Kind] names the
// architecture, the version of the kernel set and the compiler.
//
// A [Stream] is a stream of CUDA's for kernels, and one for copies in each
// direction, which overlap with them. Operations are enqueued in order and at most a
// thousand or so are on their way; then the caller waits. An index in device
// memory that is no row is found by the kernel: what is enqueued behind it does
// nothing, and Synchronize reports it. Host slices pass through pinned memory: one
// that is uploaded is free again when the call returns, one that is downloaded is
// written by Synchronize or before. Memory comes from a caching allocator; a freed
// piece is not reused before every stream has done what was enqueued by then.
//
// It does not choose a GPU or watch its health; a [Stopwatch] measures a stream.
// Without cgo or off Linux, [Open] says that it cannot. DESIGN.md says how kernels are
// written, compiled and tested without a GPU.
package cuda
