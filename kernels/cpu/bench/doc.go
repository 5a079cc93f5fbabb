// Package bench measures the matrix operations of a device against OpenBLAS's
// sgemm, in one process and in turns, so that both meet the same machine.
//
// It guarantees that both sides compute the same product of the same numbers on
// the same number of threads, and reports medians over the turns. The linear
// layer's operations are set against the dense product alone: OpenBLAS knows
// neither mask nor adapter, so a ratio there is what the masked layer costs. It
// does not judge the result and prints nothing; a command line and the
// benchmarks of package cpu do.
package bench
