// Package dense is the published form of the SparseLoRA layer as a device: what a
// user writes who has a dense matrix product and autograd. B·A is written out,
// added, rounded and masked to W_eff, which is kept for the backward of the same
// layer; dW is written out, scaled and masked, and multiplied with A and B. The
// products are OpenBLAS's sgemm, the passes between them run on all threads, and
// none is made that the form does not need. Other operations, those on packed
// weights too, and the memory are those of package cpu.
//
// It guarantees the results of the case table of package kerneltest, so that a
// comparison with it is one of equal work. It is for benchmarks: no product code
// computes with it. A W_eff that forward has kept is what LinearBackwardInput of
// the same weight on the same stream uses; adapters may not change in between.
package dense
