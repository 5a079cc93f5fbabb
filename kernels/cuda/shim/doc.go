// Package shim is a libcuda that runs the kernels of kernels/cuda/source on the
// processor, for tests on machines without a GPU: [Build] compiles the same
// sources with a C++ compiler, [BuildPTX] the PTX that a GPU's compiler made of them.
//
// A block's threads are fibers that run one at a time until they wait, backwards
// in every other launch of a kernel, so that threads or blocks that race give other
// bits in a second run. A launch fails, with the place in the source, where
// threads part at a barrier (a missing one, or some that ended before it), a
// warp's operation misses a lane, an address outside an allocation or off its
// alignment is used through global(p), or dynamic shared memory is overrun. Shared
// memory begins as NaN, cp.async happens where it is waited for, and work in a
// stream runs when the host waits for it and not before; every second time the
// other streams go first as far as events let them, so that a wait that is missing
// between two shows as other bits.
//
// The environment says more: with RESSA_SHIM_RUNS "moves" it runs copies and the kernel
// move, no other, and memory begins as zero; with "nothing" not even those, and
// memory is accounted for without being there. So tests see what models of any size
// take. With RESSA_SHIM_MEMORY the device has so many bytes.
//
// It does not show what ptxas makes of a kernel, its speed, races within a warp,
// or the order in which tensor cores add. Only tests call it.
package shim
