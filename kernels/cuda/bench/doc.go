// Package bench measures operations of a CUDA device by the GPU's own clock: the
// step of a SparseLoRA layer, attention, the loss, and what only moves memory.
//
// A [Subject] is a case with its operands on a device of its own, so that the peak
// of the device's memory is the case's. It guarantees that a turn measures what it
// says: operations run one after the other as in training, repeated until they take
// as long as is asked, between marks in the stream. [Part] has what an operation
// must at least compute and move, [Peak] what a GPU can, by measurement and by its
// data sheet. [Compute] runs a case once on given numbers, so that whoever measures
// something beside it can show that both do the same work.
//
// It does not choose cases, know the other side, judge or print. Package
// trainer/bench is the caller.
package bench
