// Package driver calls NVIDIA's driver library, libcuda, which it loads at run
// time: contexts, memory, modules, streams, events, launches. Building it needs
// neither CUDA's toolkit nor a GPU.
//
// It guarantees that every failure is an [Error] with CUDA's own name for it and
// the call that failed, and that every call is made with its context current.
// A context is current per OS thread, and goroutines move between threads, so each
// call makes its context current and does its work within one call into C, which
// never changes threads. So nothing depends on which thread a goroutine runs on,
// and no thread has to be locked.
//
// It does not cache, queue, wait with a deadline or know an operation; it adds
// nothing to CUDA but types. Calls that wait for the GPU say so. Package cuda and
// its benchmarks are the callers. With CGO_ENABLED=0 or off Linux, [Open] says
// that it cannot load a library.
package driver
