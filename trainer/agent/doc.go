// Package agent is the process of a node: it registers with the coordinators,
// beats, and runs the workers that they assign to it.
//
// It guarantees that at most one worker of a job runs on the node at a time, the
// newest generation's; that a worker whose assignment is gone is stopped before
// another begins; that how a worker ended is reported until a coordinator has taken
// it in or does not want it any more; that what a worker said can be asked for, within
// bounds, while it runs and until two later ones have ended; and that the node goes on
// without any coordinator for a while, so that losing all of them costs no step. What a worker
// computes is handed in as a function; nodes are found and tensors carried by
// package collective/link. The verb `ressa trainer` is the caller.
package agent
