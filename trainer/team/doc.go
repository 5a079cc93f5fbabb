// Package team is what the workers of a job do together outside a training step:
// who holds and computes what, by a shard.Plan; forward passes through stages on
// several workers, for calibration and evaluation; and messages between the chief,
// worker 0, and the others.
//
// It guarantees that a job computes the same on a team of any shape: work outside
// steps is cut into cells by the job alone, and a cell's result does not depend on
// who computes it. All workers make the same calls in the same order. A team of one
// exchanges nothing. Package job is the caller; steps are package step's.
package team
