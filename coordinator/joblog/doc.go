// Package joblog keeps what the workers of jobs say over the hub: their log lines
// and their events, in one file each of a coordinator's folder, for as long as the
// state knows the job.
//
// It guarantees that the lines of a worker in a generation are kept once each and in
// their order, those of several as they come; that readers get lines in the order in
// which they are kept and are woken by new ones; and that a job's files stay below a
// bound: what comes after it is counted, not kept. Lines that were sent while this
// coordinator was down or the hub away are asked for at their nodes, which keep the
// last ones of each worker: a line is passed over, with a word in the log, only when
// its node does not have it any more or is gone. A line that another coordinator has
// and no node is not fetched. Package coordinator/server is the caller.
package joblog
