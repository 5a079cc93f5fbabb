// Package bench measures the operations of a cpu device against OpenBLAS, in one
// process and in turns, so that both meet the same machine: plain products against
// its sgemm, SparseLoRA layers against the same step in the published form (package
// dense), other operations against the processor's floor alone.
//
// It guarantees that both sides get the same numbers and the same number of threads
// (that they compute the same is what the case table holds package dense to), with pauses in which the threads of the other side
// go to sleep, and reports medians and quartiles over the turns: of times, and of
// the ratio of what ran in one turn. With one thread, times are the processor time
// of that thread, which other programs disturb less. Floors are measured at the
// start: the rate of fused multiply-adds in registers and of moving memory.
//
// It does not judge the result and prints nothing; a command line and the
// benchmarks of package cpu do.
package bench
